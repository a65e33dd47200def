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
from typing import NamedTuple

from ..packages import python
from ..paths import ROOT
from ..process import start_time
from ..progress import Failure, wait_for
from . import secret_log

_REQUIREMENTS = Path(__file__).with_name("requirements.txt")
_SERVICES = "cloudformation,iam,kms,s3,sts"
# Relative to the processes' working directory, because an absolute path could exceed the limit of a socket's path.
_SOCKET = "ministack.sock"
ACCESS_LOG = "access.jsonl"
_PROXY, _MINISTACK = "aws-proxy", "ministack"
_children: dict[int, subprocess.Popen[bytes]] = {}  # started by this process; an earlier command's are found by pid
_START_SECONDS, _STOP_SECONDS = 30, 10


class TLS(NamedTuple):
    """An HTTPS port with its certificate and key."""

    port: int
    certificate: Path
    key: Path


def spawn(run_dir: Path, bind: str, port: int, nsenter: Sequence[str], tls: TLS | None = None) -> None:
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
        "IOT_MTLS_ENABLED": "0",  # would open another port
        "SFTP_ENABLED": "0",
        "LOG_LEVEL": "WARNING",
        **{variable: str(directory / name) for variable, name in scratch.items()},
    }
    _start(run_dir, _MINISTACK, [*nsenter, sys.executable, "-m", "dev.aws.standin_server", _SOCKET], environment)
    log = directory / ACCESS_LOG
    for written in (log, directory / secret_log.FILE):
        written.unlink(missing_ok=True)
    listen = ["--listen", f"{bind}:{port}", "--upstream", _SOCKET, "--log", ACCESS_LOG]
    if tls:
        listen += ["--tls", f"{bind}:{tls.port}", "--certificate", str(tls.certificate), "--key", str(tls.key)]
    _start(run_dir, _PROXY, [*nsenter, sys.executable, "-m", "dev.aws.proxy", *listen], environment)
    # If another process holds the port, that process would answer the health check.
    wait_for("the proxy of the AWS stand-in", lambda: log.exists() or not _runs(run_dir, _PROXY), _START_SECONDS)
    if not log.exists():
        words = (directory / f"{_PROXY}.log").read_text().splitlines()[-1:]
        stop(run_dir)
        raise Failure(f"The proxy of the AWS stand-in ended: {' '.join(words)}")


def stop(run_dir: Path) -> None:
    """Stops what `spawn` started. Idempotent."""
    for name in (_PROXY, _MINISTACK):
        file = _pid_file(run_dir, name)
        if not file.exists():
            continue
        pid = json.loads(file.read_text())["pid"]
        for number in (signal.SIGTERM, signal.SIGKILL):
            if _runs(run_dir, name):
                os.kill(pid, number)
                _wait_for_end(run_dir, name)
        if child := _children.pop(pid, None):
            child.wait()
        file.unlink()


def wait_until_healthy(endpoint: str) -> None:
    """Returns once the stand-in answers through the proxy."""

    def answers() -> bool:
        with urllib.request.urlopen(f"{endpoint}/_ministack/health", timeout=_START_SECONDS):
            return True

    wait_for(f"an answer from {endpoint}", answers, _START_SECONDS)


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
    """The environment without the caller's AWS credentials, which MiniStack would take for those of account roots."""
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}


def _pid_file(run_dir: Path, name: str) -> Path:
    """Writes the record where and as `dev.process` does, so that `make down` finds leftovers."""
    return run_dir / "pids" / f"{name}.json"


def _runs(run_dir: Path, name: str) -> bool:
    record = json.loads(_pid_file(run_dir, name).read_text())
    return record["start"] is not None and start_time(record["pid"]) == record["start"]


def _wait_for_end(run_dir: Path, name: str) -> None:
    deadline = time.monotonic() + _STOP_SECONDS
    while _runs(run_dir, name) and time.monotonic() < deadline:
        time.sleep(0.02)
