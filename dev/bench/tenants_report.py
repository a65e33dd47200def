"""The pure parts of `tenants`: what samples come to, the table and the picture."""

import urllib.parse
from typing import NamedTuple

from ..paths import ROOT
from ..progress import Failure, say
from . import plot, results, scale_report

PAGE, PICTURE = ROOT / "docs" / "scale.md", ROOT / "docs" / "scale.svg"
BEGIN, END = "<!-- python3 -m dev.bench tenants writes what follows -->", "<!-- python3 -m dev.bench tenants wrote this -->"


class Figure(NamedTuple):
    what: str
    measured: float
    unit: str
    # None: a figure that others are made of.
    target: float | None
    at_least: bool = False

    def is_met(self):
        if self.target is None:
            return None
        return self.measured >= self.target if self.at_least else self.measured <= self.target

    def row(self):
        unit = f" {self.unit}" if self.unit not in ("", "×", "%") else self.unit
        measured = f"{_number(self.measured)}{unit}"
        if self.target is None:
            return [self.what, measured, "", "", ""]
        sign = "≥" if self.at_least else "≤"
        share = f"{self.measured / self.target:.2f}" if self.target else "–"
        return [self.what, measured, f"{sign} {_number(self.target)}{unit}", share, "yes" if self.is_met() else "**no**"]


def _number(value):
    return f"{value:,.0f}" if value >= 100 or float(value).is_integer() else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def table(figures):
    head = ["figure", "measured", "target", "measured ÷ target", "met"]
    return results.Table("Beside a fake API server, STS and S3 that answer at once", [head, *(figure.row() for figure in figures)])


def growth_table(growth):
    head = ["destinations", "process", "anonymous, MiB", "resident, MiB", "peak, MiB", "start → Ready, s", "anonymous, KiB a destination"]
    rows = [
        [f"{size:,}", name, *(f"{mib:.1f}" for mib in of), f"{ready:.1f}", f"{of[0] * 1024 / size:.1f}"]
        for size, name, *of, ready in growth
    ]
    return results.Table("Each process, by destinations", [head, *rows])


def query(namespace, name):
    return urllib.parse.urlencode({"namespace": namespace, "name": name})


def stream(name, kind, address, rate, connections, **more):
    return {"name": name, "kind": kind, "address": address, "perSecond": rate, "connections": connections, **more}


def attacks(broker, webhook, per_namespace):
    """What is done, whom it could delay, and what the attacker does."""
    pods = stream("victim", "credentials", broker, 200, 80, spread=10, perNamespace=per_namespace)
    reviews = stream("victim", "review", webhook, 50, 10, spread=10, perNamespace=per_namespace)

    def attack(kind, address, rate, connections, **more):
        # Of a tenant that has none of the destinations above.
        return stream("attack", kind, address, rate, connections, first=5_000, perNamespace=per_namespace, **more)

    return [
        ("broker, 300 forged tokens a second from 64 addresses", pods, attack("forged", broker, 300, 64, spread=1)),
        ("broker, 800 requests a second of one tenant's own 100 pods", pods, attack("credentials", broker, 800, 100, spread=1)),
        ("webhook, 200 calls a second at unknown paths from 600 addresses", reviews, attack("stranger", webhook, 200, 600, spread=1)),
        ("webhook, 10 reviews a second of one tenant's pods of 500 KB", reviews, attack("review", webhook, 10, 10, spread=1, pad=500_000)),
    ]


def served(started):
    failed = [one for one in started if one.get("error")]
    if failed:
        raise Failure(f"{len(failed)} of {len(started)} pods got no credentials: {failed[0]['error']}")
    return started


def first_of_each(started):
    """When the first pod of each destination had its credentials."""
    first = {}
    for one in started:
        first[one["destination"]] = min(one["seconds"], first.get(one["destination"], one["seconds"]))
    return list(first.values())


def steady_rate(times):
    """Calls a second, without the first and the last tenth."""
    ordered = sorted(times)
    inner = ordered[len(ordered) // 10 : len(ordered) * 9 // 10]
    return (len(inner) - 1) / (inner[-1] - inner[0]) if len(inner) > 1 else 0.0


def most_in_a_second(times):
    ordered, most, first = sorted(times), 0, 0
    for last, at in enumerate(ordered):
        while ordered[first] <= at - 1:
            first += 1
        most = max(most, last - first + 1)
    return most


COLOURS = {"controller": "#1a7f37", "broker": "#0969da", "webhook": "#bf8700"}


def picture(growth):
    lines = {name: [(size, of[0] * 1024 / size) for size, component, *of in growth if component == name] for name in scale_report.COMPONENTS}
    return plot.lines(lines, COLOURS, "Anonymous memory for each destination, KiB, by the number of destinations")


def write(part, picture):
    """Writes tables and picture into docs/scale.md."""
    before, found, rest = PAGE.read_text().partition(BEGIN)
    _, ends, after = rest.partition(END)
    if not found or not ends:
        raise Failure(f"{PAGE} has no place for the results between {BEGIN} and {END}")
    PICTURE.write_text(picture)
    tables = "\n".join(table.markdown() for table in part.tables)
    text = f"\n{results.machine()}.\n\n{tables}\n![Memory for each destination]({PICTURE.name})\n\n"
    PAGE.write_text(before + BEGIN + text + END + after)
    say(f"written to {PAGE} and {PICTURE}")
