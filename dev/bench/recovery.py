"""Latency from the rename to the first byte, requests of an upload, and bytes that are sent again after kill -9."""

import os
import random
import statistics
import subprocess
import time

from ..cluster.forward import free_port
from ..progress import Failure, step, wait_for
from . import results, sink
from .clients import OURS, PEERS, Clients, versions
from .uploads import WORKS, make, spool_of, workshop

RECORDINGS = 500
RECORDING_BYTES = 200_000
SEED = 6
KILLS = 5
KILL_AT = 0.5


def run():
    with workshop() as directory, sink.running(directory) as other_end:
        clients = Clients(other_end, "plain", directory)
        parts = [_latency(directory, other_end, clients, RECORDINGS), _sent_again(directory, other_end, clients, KILLS)]
    return results.Part(parts[0].tables + parts[1].tables, parts[0].rows | parts[1].rows)


def _latency(directory, other_end, clients, recordings):
    """From the rename to the first byte of the PUT, with the main loop as it runs in a pod."""
    spool = directory / "running"
    spool.mkdir()
    content, chance = os.urandom(RECORDING_BYTES), random.Random(SEED)
    renamed = {}
    with step(f"{recordings} recordings renamed into place"), _sidecar(directory, other_end, clients, spool):
        for number in range(recordings):
            part, name = spool / "next.part", f"call-{number:04}.wav"
            part.write_bytes(content)
            time.sleep(chance.uniform(0.002, 0.04))
            renamed[name] = time.time_ns()
            part.rename(spool / name)
        wait_for("the last recording", lambda: not any(spool.glob("*.wav")), 60)
    history = other_end.stats()["history"]
    waits = [(history[f"{sink.PREFIX}{name}"]["firstByte"] - at) / 1e6 for name, at in renamed.items()]
    results.keep("latency", waits)
    figures = (statistics.median(waits), results.quantile(waits, 0.99), max(waits))
    head = ["renamed into place → first byte at the sink", "recordings", "median, ms", "p99, ms", "longest, ms"]
    row = [f"{RECORDING_BYTES // 1000} KB", recordings, *(f"{ms:.1f}" for ms in figures)]
    return results.Part([results.Table("How soon, of a running sidecar", [head, row])], {"renamed into place → first byte, p99": {OURS: f"{figures[1]:.0f} ms"}})


class _sidecar:
    """The uploader as it runs in a pod; the sink answers in place of the broker."""

    def __init__(self, directory, other_end, clients, spool):
        other_end.ask("reset")
        other_end.ask("destination", {
            "state": "Active", "bucket": sink.BUCKET, "region": "us-east-1", "prefix": sink.PREFIX,
            "expectedBucketOwner": "111111111111", "objectACL": "BucketOwnerFullControl",
            "encryption": {"type": "BucketDefault"}, "endpoint": {"url": other_end.addresses["plain"]}, "caBundle": "",
        })  # fmt: skip
        state = directory / "state"
        state.mkdir()
        (state / "token").write_text("any")
        self._argv = [
            clients.ours, f"--spool={spool}", f"--state-dir={state}", f"--token-file={state / 'token'}",
            f"--listen=127.0.0.1:{free_port(19095)}",
        ]  # fmt: skip
        self._environment = {
            **clients.environment(),
            "RECORDINGS_BROKER_URL": other_end.addresses["tls"], "RECORDINGS_BROKER_CA": other_end.ca.read_text(),
        }  # fmt: skip
        self._log = directory / "sidecar.log"

    def __enter__(self):
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(self._argv, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for("the sidecar", lambda: '"Sending"' in self._log.read_text(), 30)

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait(30)


def _sent_again(directory, other_end, clients, kills):
    """Kills a client when half of 500 MB has arrived, and starts it again."""
    work = WORKS[0]
    make(directory, work)
    rows, kept = [["killed at half of 500 MB, started again", "bytes sent again, MB", "of the file"]], {}
    sent = {client: [] for client in (OURS, *PEERS)}
    with step(f"{kills} rounds of kill -9"):
        for _ in range(kills):
            for client in sent:
                sent[client].append(_killed(directory, other_end, clients, work, client) - work.size)
    for client, extra in sent.items():
        median = statistics.median(extra)
        rows.append([versions()[client], f"{median / 1e6:.0f}", f"{median / work.size:.0%}"])
    results.keep("sent-again", sent)
    row = {client: f"{statistics.median(extra) / work.size:.0%}" for client, extra in sent.items()}
    return results.Part([results.Table(f"After kill -9, medians of {kills} rounds", rows)], {"sent again after kill -9 at half of 500 MB": row})


def _killed(directory, other_end, clients, work, client):
    spool = spool_of(directory, work)
    other_end.ask("reset")
    process = subprocess.Popen(
        [str(a) for a in clients.argv(client, spool)], env=clients.environment(), stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while other_end.ask("received") < work.size * KILL_AT:
        if process.poll() is not None:
            raise Failure(f"{client} ended before half had arrived")
    process.kill()
    process.wait()
    clients.must(client, spool)
    return other_end.ask("received")
