"""Runs the long link in front of the sink, as a process in Go (`bench/link/`)."""

import contextlib
import json
import subprocess
import urllib.request

from .. import tools
from .sink import Sink


class Link(Sink):
    """The sink at the other end of the link. What the bench itself asks of the sink goes the short way."""

    def __init__(self, addresses, sink):
        super().__init__(addresses, sink.ca)
        self.ask = sink.ask

    def reset(self):
        """Requests in flight are counted from now on."""
        self._control("reset")

    def in_flight(self):
        """Most requests that were in flight, and their mean over time."""
        return json.loads(self._control("stats"))

    def _control(self, path):
        with urllib.request.urlopen(f"{self.addresses['control']}/{path}", timeout=30) as answer:
            return answer.read()


@contextlib.contextmanager
def running(sink, round_trip_ms, rate=0, queue=0):
    """A link of this round trip; with a `rate` in bytes a second, that many bytes wait in front of it."""
    host = {scheme: address.partition("://")[2] for scheme, address in sink.addresses.items()}
    argv = [tools.go_command("bench/link"), "-plain", host["plain"], "-tls", host["tls"], "-round-trip", f"{round_trip_ms}ms"]
    argv += ["-rate", str(rate), "-queue", str(queue)] if rate else []
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        try:
            yield Link(json.loads(process.stdout.readline()), sink)
        finally:
            process.terminate()
