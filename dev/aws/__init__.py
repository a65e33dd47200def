"""A stand-in for AWS that enforces trust policies, with the two sides of the product's world in it.

The test modules in this room test the stand-in itself: a refusal means something only where a permissive role is
assumable by anyone.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ..paths import ROOT
from ..progress import Failure
from . import standin

PLATFORM_CREDENTIALS = "platform-credentials.json"


def start(run_dir: Path, bind: str, port: int, nsenter: Sequence[str] = (), tls: standin.TLS | None = None) -> None:
    """Starts the stand-in on ``bind``:``port`` and writes the platform's credentials into ``run_dir``.

    The state is in memory: what runs already is stopped first. ``nsenter`` is a command prefix by
    which all of it, the first calls included, runs in a network namespace. ``tls`` adds a port that serves HTTPS.
    """
    stop(run_dir)
    standin.spawn(run_dir, bind, port, nsenter, tls)
    seed = [sys.executable, "-m", "dev.aws", "platform", "--endpoint-url", f"http://{bind}:{port}"]
    seed += ["--credentials-file", str(run_dir / PLATFORM_CREDENTIALS)]
    if subprocess.run([*nsenter, *seed], cwd=ROOT).returncode:
        stop(run_dir)
        raise Failure(f"The AWS stand-in did not start; its logs are in {run_dir / 'aws'}.")


def stop(run_dir: Path) -> None:
    standin.stop(run_dir)
    (run_dir / PLATFORM_CREDENTIALS).unlink(missing_ok=True)
