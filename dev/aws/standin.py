"""Starts and stops the stand-in: MiniStack on a Unix socket, and the proxy, the only way to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from ..packages import python
from ..paths import ROOT
from ..process import start_time

_REQUIREMENTS = Path(__file__).with_name("requirements.txt")
_SERVICES = "cloudformation,iam,kms,s3,sts"
# Relative to the processes' working directory: an absolute path could be longer than a socket's may be.
_SOCKET = "ministack.sock"
_PROXY, _MINISTACK = "aws-proxy", "ministack"
_children: dict[int, subprocess.Popen[bytes]] = {}  # of this process; those of an earlier command are known by pid
_START_SECONDS, _STOP_SECONDS = 30, 10


def spawn(run_dir: Path, bind: str, port: int, nsenter: Sequence[str]) -> None:
    """Starts both processes. The command prefix ``nsenter`` puts them into a network namespace."""
    directory = run_dir / "aws"
    directory.mkdir(parents=True, exist_ok=True)
    scratch = {"TMPDIR": "tmp", "STATE_DIR": "state", "S3_DATA_DIR": "objects"}
    for name in scratch.values():
        (directory / name).mkdir(exist_ok=True)
    environment = {
        "PYTHONPATH": f"{ROOT}:{python('ministack', _REQUIREMENTS)}",
        "AUTH": "true",
        "SERVICES": _SERVICES,
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",  # it would open a port of its own
        "SFTP_ENABLED": "0",
        "LOG_LEVEL": "WARNING",
        **{variable: str(directory / name) for variable, name in scratch.items()},
    }
    _start(run_dir, _MINISTACK, [*nsenter, sys.executable, "-m", "dev.aws.standin_server", _SOCKET], environment)
    listen = ["--listen", f"{bind}:{port}", "--upstream", _SOCKET, "--log", "access.jsonl"]
    _start(run_dir, _PROXY, [*nsenter, sys.executable, "-m", "dev.aws.proxy", *listen], environment)


def stop(run_dir: Path) -> None:
    """Ends what `spawn` started; nothing happens when it is gone already."""
    for name in (_PROXY, _MINISTACK):
        file = _pid_file(run_dir, name)
        if not file.exists():
            continue
        record = json.loads(file.read_text())
        for number in (signal.SIGTERM, signal.SIGKILL):
            if start_time(record["pid"]) == record["start"]:
                os.kill(record["pid"], number)
                _wait_for_end(record)
        if child := _children.pop(record["pid"], None):
            child.wait()
        file.unlink()


def wait_until_healthy(endpoint: str) -> None:
    """Returns once the stand-in answers through the proxy."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{endpoint}/_ministack/health", timeout=_START_SECONDS):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _start(run_dir: Path, name: str, argv: list[str], environment: dict[str, str]) -> None:
    directory = run_dir / "aws"
    with open(directory / f"{name}.log", "wb") as log:
        child = subprocess.Popen(
            argv,
            cwd=directory,
            env=_without_aws_settings() | environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    _children[child.pid] = child
    file = _pid_file(run_dir, name)
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"pid": child.pid, "start": start_time(child.pid), "command": argv[0]}))


def _without_aws_settings() -> dict[str, str]:
    """The caller's own AWS credentials stay out: MiniStack would take them for those of its roots."""
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}


def _pid_file(run_dir: Path, name: str) -> Path:
    """In the place and form of `dev.process`, so that `make down` finds leftovers."""
    return run_dir / "pids" / f"{name}.json"


def _wait_for_end(record: dict[str, int]) -> None:
    deadline = time.monotonic() + _STOP_SECONDS
    while start_time(record["pid"]) == record["start"] and time.monotonic() < deadline:
        time.sleep(0.02)
