"""Runs the sink, a fast S3 in Go, as a process."""

import contextlib
import json
import subprocess
import urllib.request
from pathlib import Path

from .. import tools

BUCKET = "bench-recordings"
PREFIX = "calls/"


class Sink:
    def __init__(self, addresses, ca):
        self.addresses, self.ca = addresses, ca

    def ask(self, path, document=None):
        """The response of the control path, to which a document is sent as JSON."""
        body = None if document is None else json.dumps(document).encode()
        with urllib.request.urlopen(f"{self.addresses['plain']}/-/{path}", body, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def stats(self):
        """Bytes received, requests by name, and by key: objects, and the history of each."""
        return self.ask("stats")


@contextlib.contextmanager
def running(directory, thorough=False):
    """Starts a sink on loopback. A thorough one checks every digest and makes ETags as S3 does, which is slower."""
    ca = Path(directory) / "ca.pem"
    argv = [tools.go_command("bench/sink"), "-ca", ca, *(["-thorough"] if thorough else [])]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        try:
            yield Sink(json.loads(process.stdout.readline()), ca)
        finally:
            process.terminate()
