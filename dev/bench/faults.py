"""The same faults for all, one for each of a hundred recordings, and what became of the recordings.

A recording is *lost* when it is neither at its source nor whole (size and CRC64NVME) in the sink. It was *deleted
unverified* when it is no longer at its source though the last answer about it was not a 200 that named what had been
sent, and the client asked nothing afterwards: whether it arrived was luck. Another recording was *written over* when it
was in the sink under the same key before, and is nowhere in it any more."""

import random
import urllib.request
from collections import Counter
from typing import NamedTuple

from ..progress import Failure, step
from . import results, sink
from .clients import OURS, PEERS, Clients, versions
from .uploads import Work, make, spool_of, workshop

SEED = 100
PATIENCE_SECONDS = 300
SMALL, LARGE = Work("small", 64, 200_000), Work("large", 36, 24_000_000)
OCCUPIED = "another object there"
# The names are those of dev/bench/sink/faults.go. Of large recordings, a part or Complete meets the fault.
ANYWHERE = ("reset", "lost answer", "hang", "500", "503", "403", "expired token", "flipped bit", "cut short", OCCUPIED)
WITH_SMALL = (*ANYWHERE, "page under 200", "200 and nothing kept", "wrong ETag")
WITH_LARGE = (*ANYWHERE, "error in Complete's 200", "Complete's answer lost")
MOST_TIMES = 3


class Outcome(NamedTuple):
    delivered: int = 0
    kept: int = 0
    unverified: int = 0
    lost: int = 0
    written_over: int = 0
    by_fault: dict = {}


def run():
    outcomes = measure((SMALL, LARGE), (OURS, *PEERS))
    results.keep("faults", {client: outcome._asdict() for client, outcome in outcomes.items()})
    ours = outcomes[OURS]
    if ours.lost or ours.unverified or ours.written_over:
        raise Failure(f"recordings were lost, deleted unverified or written over by ours: {ours}")
    count = len(_plan((SMALL, LARGE)))
    row = {client: f"{it.lost} / {it.unverified} / {it.written_over}" for client, it in outcomes.items()}
    return results.Part([table(outcomes)], {f"lost / deleted unverified / another written over, of {count} under the same faults": row})


def measure(works, clients, ours=None, patience=PATIENCE_SECONDS):
    plan = _plan(works)
    with workshop() as directory, sink.running(directory, thorough=True) as other_end:
        for work in works:
            make(directory, work)
        expected = _as_the_sink_sees(other_end, spool_of(directory, *works))
        outcomes = {}
        for client in clients:
            spool = spool_of(directory, *works)
            with step(f"{len(plan)} faults for {versions()[client]}"):
                others = _prepare(other_end, directory, plan)
                Clients(other_end, "plain", directory, ours, in_parts=True).run(client, spool, patience)
                outcomes[client] = _judge(other_end.stats(), spool, expected, others, plan)
        return outcomes


def _plan(works):
    """The fault of each recording and how often it strikes; the same for the same seed."""
    chance, plan = random.Random(SEED), {}
    for work in works:
        kinds = WITH_LARGE if work.size == LARGE.size else WITH_SMALL
        for number in range(work.files):
            plan[work.file(number)] = (kinds[number % len(kinds)], chance.randint(1, MOST_TIMES))
    return plan


def _as_the_sink_sees(other_end, spool):
    """The size of each recording and its CRC64NVME, computed by the sink because Python's library has none."""
    other_end.ask("reset")
    for file in spool.iterdir():
        _put(other_end, file, file.name)
    return {key.removeprefix(sink.PREFIX): tuple(held.values()) for key, held in other_end.stats()["objects"].items()}


def _prepare(other_end, directory, plan):
    """A bucket that holds nothing but what must not be written over, which is returned; and the faults to come."""
    other_end.ask("reset")
    for name, (kind, _) in plan.items():
        if kind == OCCUPIED:
            file = directory / "another"
            file.write_text(f"another recording called {name}")
            _put(other_end, file, name)
    others = {key.removeprefix(sink.PREFIX): tuple(held.values()) for key, held in other_end.stats()["objects"].items()}
    other_end.ask("faults", {f"{sink.PREFIX}{name}": {"kind": kind, "times": times} for name, (kind, times) in plan.items()})
    return others


def _put(other_end, file, name):
    url = f"{other_end.addresses['plain']}/{sink.BUCKET}/{sink.PREFIX}{name}"
    urllib.request.urlopen(urllib.request.Request(url, file.read_bytes(), method="PUT"), timeout=30).close()


def _judge(stats, spool, expected, others, plan):
    held = {tuple(entry.values()) for entry in stats["objects"].values()}  # under any name
    at_source = {file.name for file in spool.rglob("*") if file.is_file()}
    found = Counter()
    for name, (kind, _) in plan.items():
        if name in at_source:
            found[kind, "kept"] += 1
        else:
            found[kind, "delivered" if expected[name] in held else "lost"] += 1
            if stats["history"].get(f"{sink.PREFIX}{name}", {}).get("unproven"):
                found[kind, "unverified"] += 1
        if name in others and others[name] not in held:
            found[kind, "written over"] += 1

    def total(result):
        return sum(count for (_, its), count in found.items() if its == result)

    by_fault = {f"{kind}: {result}": count for (kind, result), count in sorted(found.items())}
    return Outcome(*map(total, ("delivered", "kept", "unverified", "lost", "written over")), by_fault)


def table(outcomes):
    rows = [["client", "arrived whole", "still at the source", "lost", "deleted unverified", "another written over"]]
    for client, it in outcomes.items():
        rows.append([versions()[client], it.delivered, it.kept, it.lost, it.unverified, it.written_over])
    count = sum(rows[1][1:4])
    return results.Table(f"One fault for each of {count} recordings, the same for all (seed {SEED})", rows, __doc__.partition("\n\n")[2])
