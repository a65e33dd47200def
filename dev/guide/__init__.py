"""Tries out the customer's guide: the golden files of `src/cli/guide`, in accounts of the stand-in."""

from __future__ import annotations

import re
from pathlib import Path

from ..paths import ROOT

GOLDEN = ROOT / "src" / "cli" / "guide" / "golden"


def customers() -> list[Path]:
    return sorted(directory for directory in GOLDEN.iterdir() if directory.is_dir())


def snippets(markdown: Path) -> dict[str, tuple[str, str]]:
    """Blocks of code by title: language and text."""
    found = re.findall(r"^```(\w+) (.+?)\n(.*?)^```$", markdown.read_text(), re.DOTALL | re.MULTILINE)
    return {title: (language, text) for language, title, text in found}


def documents(script: Path) -> dict[str, str]:
    """The JSON documents that a script holds, by the variable that they are read into."""
    found = re.findall(r"^read -r -d '' (\w+) <<'JSON' \|\| true\n(.*?)^JSON$", script.read_text(), re.DOTALL | re.MULTILINE)
    return dict(found)
