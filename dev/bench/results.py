"""Writes the figures: all into docs/performance.md, one table and a chart into the README."""

import json
import os
import platform
import time
from typing import NamedTuple

from ..paths import ROOT, TARGET
from ..progress import Failure, say
from .clients import ABOUT_LIBRARY, ALL, versions

RAW = TARGET / "bench"
PAGE, PICTURE, README = ROOT / "docs" / "performance.md", ROOT / "docs" / "performance.svg", ROOT / "README.md"
BEGIN, END = "<!-- make bench writes what follows -->", "<!-- make bench wrote this -->"


class Table(NamedTuple):
    title: str
    rows: list  # the first row is the header
    explanation: str = ""

    def markdown(self):
        head, *rows = self.rows
        lines = [f"**{self.title}**", "", _line(head), _line(["---"] * len(head)), *map(_line, rows)]
        return "\n".join([*lines, *(["", self.explanation.strip()] if self.explanation else [])]) + "\n"


def _line(cells):
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def quantile(values, share):
    """The value below which that share of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def machine():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    busy = f"load average {os.getloadavg()[2]:.0f}"
    return f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores of {model}, Linux {platform.release()}, {busy}"


def keep(name, figures):
    """Writes every single measurement, for readers who want more than medians."""
    RAW.mkdir(parents=True, exist_ok=True)
    (RAW / f"{name}.json").write_text(json.dumps(figures, indent=1))


class Part(NamedTuple):
    """What one part of the bench found."""

    tables: list
    # For the README: label → client → figure.
    rows: dict = {}
    picture: str = ""


def show(parts):
    print(f"\n{machine()}\n")
    for part in parts:
        for table in part.tables:
            print(table.markdown(), flush=True)


def write(parts):
    """Writes the results into the repository."""
    about = f"{machine()}."
    page = ["# Performance", "", f"`make bench` wrote this page: {about}", "", ABOUT_LIBRARY, ""]
    page += [table.markdown() for part in parts for table in part.tables]
    PAGE.write_text("\n".join(page))
    PICTURE.write_text("".join(part.picture for part in parts))
    rows = {label: figures for part in parts for label, figures in part.rows.items()}
    head = ["", *(versions()[client] for client in ALL)]
    table = [head, *([label, *(figures.get(client, "–") for client in ALL)] for label, figures in rows.items())]
    lines = [f"![MB/s of each client, compared](docs/{PICTURE.name})", "", *map(_line, (table[0], ["---"] * len(head), *table[1:]))]
    lines += ["", f"{about} All of it: [docs/{PAGE.name}](docs/{PAGE.name})."]
    before, found, rest = README.read_text().partition(BEGIN)
    _, ends, after = rest.partition(END)
    if not found or not ends:
        raise Failure(f"{README} has no place for the results between {BEGIN} and {END}")
    README.write_text("\n".join([before + BEGIN, *lines, END + after]))
    say(f"written to {PAGE}, {PICTURE} and {README}")
