"""Speed where S3 is some milliseconds away, where it asks for fewer requests, and where the link is narrow.

The clients run in turn, round after round, as in `uploads`. A short run is over before a client that begins with few
connections has as many as the distance needs; a long one shows the speed that stays.
"""

import os
import shutil
import statistics
from typing import NamedTuple

from ..progress import Failure, step
from . import link, results, sink
from .clients import OURS, Clients, versions
from .uploads import REFERENCE, SCHEMES, Work, make, ratio_to, workshop

ROUND_TRIPS = (10, 60, 150)  # milliseconds
WORKS = (Work("300×1.5 MB", 300, 1_500_000), Work("1000×100 KB", 1000, 100_000), Work("1×300 MB", 1, 300_000_000))
CLIENTS = (OURS, REFERENCE)
SHORT_ROUNDS, LONG_ROUNDS = 5, 1
LONG_SECONDS = 32
# No more files than a directory in memory has inodes for, and as many as a client lists in a moment.
MOST_FILES = 100_000

SLOW_DOWN = 500  # requests a second
NARROW, QUEUE = 25_000_000, 1_000_000  # bytes a second, and bytes in front of that
WORLD_ROUND_TRIP = 60
SLOW_WORK, NARROW_WORK = Work("5000×100 KB", 5000, 100_000), Work("300×1.5 MB", 300, 1_500_000)


class Figure(NamedTuple):
    scheme: str
    work: str
    round_trip: int
    duration: str
    client: str
    round: int
    seconds: float
    mb_per_second: float
    cpu_seconds_per_gb: float
    rss_mib: float
    in_flight: float
    most_in_flight: int
    arrived: int
    slow_downs: int


def run():
    figures, worlds = measure(WORKS, ROUND_TRIPS, SHORT_ROUNDS, LONG_ROUNDS), measure_worlds(SLOW_WORK, NARROW_WORK)
    results.keep("distance", [figure._asdict() for figure in [*figures, *worlds]])
    return results.Part([*tables(figures), *world_tables(worlds)], rows(figures))


def measure(works, round_trips, short_rounds, long_rounds, ours=None):
    figures = []
    with workshop() as directory, sink.running(directory) as other_end:
        for work in works:
            make(directory, work)
        for round_trip in round_trips:
            with link.running(other_end, round_trip) as far_end, step(f"{round_trip} ms away"):
                for scheme in SCHEMES:
                    clients = Clients(far_end, scheme, directory, ours)
                    for work in works:
                        bench = Bench(directory, far_end, clients, scheme, round_trip)
                        short = bench.rounds(work, "short", work.files, short_rounds)
                        figures += short + bench.rounds(work, "long", files_of_a_long_run(work, short), long_rounds)
    return figures


def files_of_a_long_run(work, short):
    """So many that the faster client is busy for long enough."""
    fastest = max((figure.mb_per_second for figure in short), default=100)
    # A short run is slower than a long one, which must not end too soon.
    return min(MOST_FILES, int(1.5 * LONG_SECONDS * fastest * 1e6 / work.size) + 1)


def measure_worlds(slow_work, narrow_work, ours=None):
    figures = []
    with workshop() as directory, sink.running(directory) as other_end:
        for work in {slow_work, narrow_work}:
            make(directory, work)
        with link.running(other_end, WORLD_ROUND_TRIP) as far_end, step("an S3 that asks for fewer requests"):
            clients = Clients(far_end, "plain", directory, ours)
            bench = Bench(directory, far_end, clients, "plain", WORLD_ROUND_TRIP, slow_down=SLOW_DOWN)
            figures += bench.rounds(slow_work, "SlowDown", slow_work.files, 1)
        with link.running(other_end, WORLD_ROUND_TRIP, NARROW, QUEUE) as far_end, step("a narrow link"):
            clients = Clients(far_end, "plain", directory, ours)
            figures += Bench(directory, far_end, clients, "plain", WORLD_ROUND_TRIP).rounds(narrow_work, "narrow", narrow_work.files, 1)
    return figures


class Bench(NamedTuple):
    directory: object
    far_end: link.Link
    clients: Clients
    scheme: str
    round_trip: int
    slow_down: int = 0

    def rounds(self, work, duration, files, rounds):
        figures = []
        for number in range(rounds):
            order = CLIENTS if number % 2 == 0 else CLIENTS[::-1]
            figures += [self._once(work, duration, files, client, number) for client in order]
        return figures

    def _once(self, work, duration, files, client, number):
        spool = spool_of(self.directory, work, files)
        self.far_end.ask("reset")
        if self.slow_down:
            self.far_end.ask("rate", self.slow_down)
        self.far_end.reset()
        run = self.clients.run(client, spool)
        in_flight = self.far_end.in_flight()
        stats = self.far_end.stats()
        whole = sum(held["size"] == work.size for held in stats["objects"].values())
        if whole != files and not self.slow_down:
            raise Failure(f"{client} of {files} files of {work.name}, {self.round_trip} ms away: {whole} objects are whole")
        gigabytes = max(whole, 1) * work.size / 1e9
        return Figure(
            self.scheme, work.name, self.round_trip, duration, client, number, run.seconds, gigabytes * 1000 / run.seconds,
            run.cpu_seconds / gigabytes, run.rss_mib, in_flight["mean"], in_flight["peak"], whole, stats["slowDowns"],
        )  # fmt: skip


def spool_of(directory, work, files):
    """Makes a new directory of so many links to the recordings."""
    spool = directory / "spool"
    shutil.rmtree(spool, ignore_errors=True)
    spool.mkdir()
    masters = sorted((directory / "master" / work.name).iterdir())
    for number in range(files):
        os.link(masters[number % len(masters)], spool / f"{number:06}.wav")
    return spool


def tables(figures):
    found = []
    for scheme in SCHEMES:
        rows = [["work", "round trip", "run", "client", "seconds", "MB/s", f"× {REFERENCE}", f"CPU × {REFERENCE}", "peak RSS, MiB", f"× {REFERENCE}", "requests in flight: mean", "most"]]
        of_scheme = [figure for figure in figures if figure.scheme == scheme]
        for case in dict.fromkeys((figure.work, figure.round_trip, figure.duration) for figure in of_scheme):
            own = [figure for figure in of_scheme if (figure.work, figure.round_trip, figure.duration) == case]
            rows += [[case[0], f"{case[1]} ms", case[2], versions()[client], *_medians(own, client)] for client in CLIENTS]
        title = f"Some milliseconds away, over {'TLS' if scheme == 'tls' else 'plain HTTP'}"
        found.append(results.Table(title, rows, ABOUT))
    return found


ABOUT = f"""
A proxy holds every byte back for half of the round trip. A short run sends the files that its name says, a long one as
many of them as take at least 30 seconds. Medians of {SHORT_ROUNDS} interleaved rounds; of long runs, {LONG_ROUNDS}.
"""


def _medians(figures, client):
    def median(name):
        return statistics.median(getattr(figure, name) for figure in figures if figure.client == client)

    def ratio(name):
        return f"{ratio_to(figures, client, name):.2f}"

    return [
        f"{median('seconds'):.1f}", f"{median('mb_per_second'):.0f}", ratio("mb_per_second"), ratio("cpu_seconds_per_gb"),
        f"{median('rss_mib'):.1f}", ratio("rss_mib"), f"{median('in_flight'):.0f}", f"{median('most_in_flight'):.0f}",
    ]  # fmt: skip


def world_tables(figures):
    head = ["world", "work", "client", "arrived", "goodput, MB/s", "answered 503", "requests in flight: mean", "most", "bandwidth-delay product"]
    rows = [head]
    for figure in figures:
        size = next(work.size for work in (SLOW_WORK, NARROW_WORK) if work.name == figure.work)
        slow = figure.duration == "SlowDown"
        world = f"SlowDown above {SLOW_DOWN} requests/s" if slow else f"link of {NARROW / 1e6:.0f} MB/s, queue of {QUEUE / 1e6:.0f} MB"
        product = (SLOW_DOWN if slow else NARROW / size) * figure.round_trip / 1000
        rows.append(
            [
                world, figure.work, versions()[figure.client], figure.arrived, f"{figure.mb_per_second:.1f}", figure.slow_downs,
                f"{figure.in_flight:.0f}", figure.most_in_flight, f"{product:.0f} requests",
            ]
        )  # fmt: skip
    return [results.Table(f"Where less is borne, {WORLD_ROUND_TRIP} ms away, plain HTTP", rows)]


def rows(figures):
    """The README's rows, plain HTTP / TLS, of long runs."""
    long = [figure for figure in figures if figure.duration == "long"]
    cases = dict.fromkeys((figure.work, figure.round_trip) for figure in long)
    return {
        f"files of {work.partition('×')[2]}, {round_trip} ms away, MB/s × {REFERENCE}, plain / TLS": {
            client: " / ".join(_speed([f for f in long if f[:3] == (scheme, work, round_trip)], client) for scheme in SCHEMES)
            for client in CLIENTS
        }
        for work, round_trip in cases
    }


def _speed(figures, client):
    return f"{ratio_to(figures, client, 'mb_per_second'):.2f}" if figures else "–"
