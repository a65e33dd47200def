"""A stand-in for AWS that enforces trust policies, with the two sides of the product's world in it.

standin             starts and stops the two processes below
standin_server      MiniStack, on a socket that only the proxy knows, corrected; standin_s3: of its S3; standin_cloudformation: of that
proxy               the endpoint that everybody uses: rules, and the log of every call
rules               where the stand-in is more lenient than AWS, and what AWS does instead
questions, callers  what the rules must know: of permissions and buckets, and whose a key is
faults              what a test puts between the operator and AWS: throttles, resets, silence, pages of others
secret_log          what must be found nowhere else, for the tests that look for leaks
call, answer, access_log, upstream, http1, sigv4, wire_xml   the proxy's parts
accounts, client    the platform's account and its customers'; commands: `python3 -m dev.aws customer` by hand
support             what the tests share

The test modules beside them test the stand-in itself: a refusal means something only where a
permissive role is assumable by anyone.
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
