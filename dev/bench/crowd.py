"""Runs a fake cluster with a fake AWS and thousands of callers, in Go, and the operator's processes against it."""

import contextlib
import json
import os
import resource
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from .. import tools
from ..cluster import operator
from ..progress import Failure, wait_for
from . import scale_report

FILES = 12_000
SECONDS = 900
CONFIGURATION = "recording-operator"


class Crowd:
    def __init__(self, control, endpoint, directory):
        self._control, self.endpoint, self.directory = control, endpoint, Path(directory)

    def ask(self, command, document=None):
        """The answer to a command of dev/bench/crowd/main.go."""
        body = None if document is None else json.dumps(document).encode()
        try:
            with urllib.request.urlopen(f"{self._control}/{command}", body, timeout=SECONDS) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise Failure(f"{command}: {error.read().decode(errors='replace')}") from error


@contextlib.contextmanager
def running(directory):
    """A fake cluster on loopback that has no destinations yet."""
    # Each caller and each connection of the operator is a file.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if most < FILES:
        raise Failure(f"{FILES} files are needed, and {most} are allowed: raise the limit by ulimit -Hn")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    key = Path(directory) / "key"
    key.mkdir()
    (key / "accessKeyID").write_text("AKIABENCH")
    (key / "secretAccessKey").write_text("bench")
    argv = [tools.go_command("bench/crowd"), "-directory", directory]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env={**os.environ, "GOGC": "400"}) as process:
        try:
            yield Crowd(**json.loads(process.stdout.readline()), directory=directory)
        finally:
            process.kill()


class Process:
    """One of the operator's processes."""

    def __init__(self, name, process, address, health, ready_after):
        self.name, self.pid, self.address, self._process = name, process.pid, address, process
        self._health, self.ready_after = health, ready_after

    def memory(self):
        """In MiB: anonymous memory, what is resident, and the most that ever was."""
        return scale_report.memory_of(Path(f"/proc/{self.pid}/status").read_text())

    def cpu_seconds(self):
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def is_ready(self):
        """Whether it is the process that was started, and Ready."""
        return self._process.poll() is None and _answers(self._health)


@contextlib.contextmanager
def component(crowd, name, *flags):
    """Starts `recording-operator NAME` and waits until it is Ready."""
    directory = crowd.directory
    address, health = _free_address(), _free_address()
    ca = (directory / "ca.crt").read_text()
    aws = [f"--aws-endpoint-url={crowd.endpoint}", f"--aws-endpoint-ca={ca}", f"--platform-key-dir={directory / 'key'}"]
    serving = ["--listen", address, "--tls-dir", directory]
    own = {
        "controller": aws,
        "broker": [*serving, *aws],
        "webhook": [*serving, "--webhook-configuration", CONFIGURATION, "--broker-url", "https://broker:8443", "--uploader-image", "uploader:1"],
    }
    argv = [operator.RELEASE / "recording-operator", name, "--metrics-listen", health, *own[name], *flags]
    with _process(name, argv, directory, f"http://{health}/readyz", address) as process:
        yield process


@contextlib.contextmanager
def healthz(crowd):
    """The operator's HTTPS server with nothing behind it but /healthz."""
    address = _free_address()
    with _process("healthz", [operator.RELEASE / "healthz", address, crowd.directory], crowd.directory, None, address) as process:
        yield process


@contextlib.contextmanager
def _process(name, argv, directory, health, address):
    log = open(directory / f"{name}.log", "w")
    environment = {**os.environ, "KUBECONFIG": str(directory / "kubeconfig"), "RUST_LOG": "info"}
    began = time.monotonic()
    with log, subprocess.Popen(list(map(str, argv)), env=environment, stderr=log, stdout=log) as process:
        try:
            wait_for(f"{name} to be Ready", lambda: _serves(process, log.name, health, address), 180)
            yield Process(name, process, address, health, time.monotonic() - began)
        finally:
            process.kill()


def _serves(process, log, health, address):
    if process.poll() is not None:
        raise Failure(f"it ended with {process.returncode}: {Path(log).read_text()[-2000:]}")
    return _answers(health) if health else _listens(address)


def _answers(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def _listens(address):
    host, port = address.split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def _free_address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"
