"""Speed, CPU time and memory of each client.

All clients run in turn, round after round, so that other load on the machine meets all of them. Clients are compared
within a round, and the tables show medians.
"""

import contextlib
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from ..progress import Failure, step
from . import plot, results, sink
from .clients import FLOOR, OURS, PEERS, Clients, versions

ROUNDS = 7
SCHEMES = ("plain", "tls")
REFERENCE = "s5cmd"
MEGABYTE = 1_000_000


class Work(NamedTuple):
    name: str
    files: int
    size: int  # bytes, of each

    def file(self, number):
        return f"{self.size}-{number:04}.wav"

    @property
    def gigabytes(self):
        return self.files * self.size / 1e9

    def clients(self):
        """curl, where the machine has it, is the floor for one file; for many files it is slow."""
        return (OURS, *PEERS, *([FLOOR] if self.files == 1 and shutil.which(FLOOR) else []))


WORKS = (Work("1×500 MB", 1, 500_000_000), Work("20×25 MB", 20, 25_000_000), Work("500×200 KB", 500, 200_000))


class Figure(NamedTuple):
    scheme: str
    work: str
    client: str
    round: int
    mb_per_second: float
    cpu_seconds_per_gb: float
    rss_mib: float
    requests_per_file: float


def run():
    figures = measure(WORKS, ROUNDS)
    results.keep("uploads", [figure._asdict() for figure in figures])
    return results.Part(tables(figures), _rows(figures), plot.svg(_bars(figures), f"MB/s × {REFERENCE}, medians of {ROUNDS} interleaved rounds, {results.machine()}"))


def _rows(figures):
    """The README's rows, plain HTTP / TLS. Speeds are ratios, because other load on the machine meets all clients."""
    rows = {}
    for unit, name in (("MB/s", "mb_per_second"), ("CPU-s/GB", "cpu_seconds_per_gb"), ("peak RSS", "rss_mib")):
        for work in WORKS:
            rows[f"{work.name}, {unit} × {REFERENCE}, plain / TLS"] = _ratios(figures, work, name, REFERENCE)
    for work in WORKS:
        if FLOOR in work.clients():
            rows[f"{work.name}, MB/s × {FLOOR}, plain / TLS"] = _ratios(figures, work, "mb_per_second", FLOOR)
    return rows


def _ratios(figures, work, name, reference):
    return {
        client: " / ".join(f"{ratio_to(_of(figures, scheme, work.name), client, name, reference):.2f}" for scheme in SCHEMES)
        for client in work.clients()
    }


def _bars(figures):
    """Group → client → how many times as fast as the reference."""
    return {
        f"{work.name}, {'TLS' if scheme == 'tls' else 'plain HTTP'}": {
            client: ratio_to(_of(figures, scheme, work.name), client, "mb_per_second") for client in work.clients()
        }
        for scheme in SCHEMES for work in WORKS
    }  # fmt: skip


def _of(figures, scheme, work):
    return [figure for figure in figures if (figure.scheme, figure.work) == (scheme, work)]


def measure(works, rounds, ours=None, without=()):
    figures = []
    with workshop() as directory, sink.running(directory) as other_end:
        clients = {scheme: Clients(other_end, scheme, directory, ours) for scheme in SCHEMES}
        for work in works:
            make(directory, work)
        for number in range(rounds):
            with step(f"round {number + 1} of {rounds}"):
                for work in works:
                    for scheme in SCHEMES:
                        # Each client is the first one equally often.
                        order = work.clients()[number % len(work.clients()) :] + work.clients()[: number % len(work.clients())]
                        for client in (client for client in order if client not in without):
                            figures.append(_once(directory, other_end, clients[scheme], scheme, work, client, number))
    return figures


@contextlib.contextmanager
def workshop():
    """A directory in memory, so that no disk is measured."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="bench-", dir=memory if os.access(memory, os.W_OK) else None) as directory:
        yield Path(directory)


def make(directory, work):
    """Makes the recordings, of which each run gets links."""
    master = directory / "master" / work.name
    master.mkdir(parents=True)
    hour_ago = time.time() - 3600  # so that no client waits for the files to be quiet
    for number in range(work.files):
        file = master / work.file(number)
        with open(file, "wb") as content:
            for written in range(0, work.size, MEGABYTE):
                content.write(os.urandom(min(MEGABYTE, work.size - written)))
        os.utime(file, (hour_ago, hour_ago))


def spool_of(directory, *works):
    """Makes a new directory of links to the recordings: a client that moves its files away removes the links alone."""
    spool = directory / "spool"
    shutil.rmtree(spool, ignore_errors=True)
    spool.mkdir()
    for work in works:
        for file in (directory / "master" / work.name).iterdir():
            os.link(file, spool / file.name)
    return spool


def _once(directory, other_end, clients, scheme, work, client, number):
    spool = spool_of(directory, work)
    other_end.ask("reset")
    run = clients.must(client, spool)
    stats = other_end.stats()
    whole = sum(held["size"] == work.size for held in stats["objects"].values())
    left = [file.name for file in spool.iterdir() if file.is_file()]
    if whole != work.files or (left and client != FLOOR):
        raise Failure(f"{client} of {work.name} over {scheme}: {whole} objects are whole, {len(left)} files are left")
    requests = sum(stats["requests"].values()) / work.files
    mb_per_second = work.gigabytes * 1000 / run.seconds
    return Figure(scheme, work.name, client, number, mb_per_second, run.cpu_seconds / work.gigabytes, run.rss_mib, requests)


def tables(figures):
    """One table for each scheme."""
    found = []
    for scheme in SCHEMES:
        rows = [["work", "client", "MB/s", f"× {REFERENCE}", f"× {FLOOR}", "CPU-s/GB", f"× {REFERENCE}", "peak RSS, MiB", f"× {REFERENCE}", "requests per file"]]
        of_scheme = [figure for figure in figures if figure.scheme == scheme]
        for work in dict.fromkeys(figure.work for figure in of_scheme):
            of_work = [figure for figure in of_scheme if figure.work == work]
            for client in dict.fromkeys(figure.client for figure in of_work):
                rows.append([work, versions()[client], *_medians(of_work, client)])
        rounds = len({figure.round for figure in figures})
        found.append(results.Table(f"Over {'TLS' if scheme == 'tls' else 'plain HTTP'}, medians of {rounds} interleaved rounds", rows))
    return found


def _medians(figures, client):
    own = [figure for figure in figures if figure.client == client]

    def median(name):
        return statistics.median(getattr(figure, name) for figure in own)

    def ratio(name, reference=REFERENCE):
        return f"{ratio_to(figures, client, name, reference):.2f}"

    has_floor = any(figure.client == FLOOR for figure in figures)
    return [
        f"{median('mb_per_second'):.0f}", ratio("mb_per_second"), ratio("mb_per_second", FLOOR) if has_floor else "–",
        f"{median('cpu_seconds_per_gb'):.2f}", ratio("cpu_seconds_per_gb"),
        f"{median('rss_mib'):.1f}", ratio("rss_mib"), f"{median('requests_per_file'):.1f}",
    ]  # fmt: skip


def ratio_to(figures, client, name, reference=REFERENCE):
    """The median of the ratios of a client's figure to the reference's of the same round."""
    theirs = {figure.round: getattr(figure, name) for figure in figures if figure.client == reference}
    return statistics.median(getattr(figure, name) / theirs[figure.round] for figure in figures if figure.client == client)
