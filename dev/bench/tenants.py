"""What broker, webhook and controller bear: thousands of destinations, connections and cold pods, and callers that attack.

The operator's processes are the real ones. API server, STS and S3 are fakes that answer at once (dev/bench/crowd), so that
what is measured is the operator and not the server beside it.
"""

import contextlib
import tempfile
import time

from ..cluster import operator
from ..progress import say, step, wait_for
from . import crowd as crowds
from . import results, scale_report
from . import tenants_report as report
from .tenants_report import Figure

SIZES = (1_000, 2_000, 5_000, 10_000, 20_000)
POLLS = (1_000, 5_000, 10_000)
STS_PER_SECOND = 50
NEW = 150
ROUNDS = 6
SETTLE_SECONDS = 32  # the processes give freed memory back after 30 s
CHUNK = 1_000


def run():
    operator.build()
    operator.build_healthz()
    with tempfile.TemporaryDirectory() as directory, crowds.running(directory) as crowd:
        figures, template = first_proofs(crowd)
        _seed(crowd, 10_000, template)
        figures += latencies(crowd) + attacks(crowd)
        growth, more = by_size(crowd, template)
        figures += more + cold_starts(crowd, template)
        _seed(crowd, 10_000, template)
        figures += sessions(crowd) + long_polls(crowd)
    results.keep("tenants", {"growth": growth, "figures": figures})
    part = results.Part([report.table(figures), report.growth_table(growth)])
    report.write(part, report.picture(growth))
    return part


def _seed(crowd, count, template=None, per_namespace=scale_report.PER_NAMESPACE):
    """Replaces all destinations; with a template all are proved, without a controller's doing."""
    crowd.ask("clear")
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

    def document(number):
        spec = scale_report.spec_of(number)
        place = (f"{scale_report.PREFIX}{number // per_namespace:05}", scale_report.place_of(number)[1])
        status = {"status": scale_report.seeded_status(template, spec, "7", now)} if template else {}
        return {"namespace": place[0], "name": place[1], "spec": spec, **status}

    with step(f"{count:,} destinations"):
        for first in range(0, count, CHUNK):
            crowd.ask("destinations", [document(number) for number in range(first, min(first + CHUNK, count))])


def first_proofs(crowd):
    """The share of the budget of STS that first proofs use, and a status that is the result of one."""
    _seed(crowd, NEW)
    crowd.ask("calls")
    where = report.query(*scale_report.place_of(0))
    with crowds.component(crowd, "controller"), step(f"first proofs of {NEW} destinations"):
        wait_for("the statuses", lambda: crowd.ask("counts").get("status", 0) >= NEW, 300)
        calls = [call["at"] for call in crowd.ask("calls")]
    found = crowd.ask(f"destination?{where}")
    ready = next(c for c in found["status"]["conditions"] if c["type"] == "Ready")
    if ready["status"] != "True":
        raise crowds.Failure(f"a first proof came to: {ready}")
    rate = report.steady_rate(calls)
    say(f"{len(calls)} calls of AssumeRole, {rate:.1f} a second")
    figures = [Figure(f"first proofs of {NEW} destinations: share of the STS budget of {STS_PER_SECOND}/s", rate / STS_PER_SECOND, "", 0.9, at_least=True)]
    return figures, {"bucket": found["spec"]["bucket"], "status": found["status"]}


def by_size(crowd, template):
    """The memory of each process by the number of destinations, and how the largest number is borne."""
    growth, figures = [], []
    for size in SIZES:
        _seed(crowd, size, template)
        where = report.query(*scale_report.place_of(size // 2))
        crowd.ask("calls")
        edited, began = crowd.ask(f"suspend?{where}"), time.monotonic()
        with contextlib.ExitStack() as stack, step(f"controller, broker and webhook with {size:,} destinations"):
            processes = [stack.enter_context(crowds.component(crowd, name)) for name in scale_report.COMPONENTS]
            wait_for("the status of the edit", lambda: _observed(crowd, where) >= edited, 120)
            answered = time.monotonic() - began
            time.sleep(SETTLE_SECONDS)
            growth += [(size, process.name, *process.memory(), process.ready_after) for process in processes]
            if size == SIZES[-1]:
                for process in processes:
                    figures.append(Figure(f"{process.name} with {size:,} destinations: peak memory", process.memory()[2], "MiB", 256))
                ready = sum(process.is_ready() for process in processes)
                figures += [
                    Figure("– processes that are those that were started, and Ready", ready, "", len(processes), at_least=True),
                    Figure("– controller: start → the status of an edit made before", answered, "s", 15),
                    Figure("– AWS calls, none of which is due", len(crowd.ask("calls")), "", 0),
                ]
    return growth, figures


def _observed(crowd, where):
    return crowd.ask(f"destination?{where}").get("status", {}).get("observedGeneration", -1)


def cold_starts(crowd, template):
    tenants, pods, rate = 1_000, 10, 250
    _seed(crowd, tenants, template, per_namespace=1)
    crowd.ask("calls")
    asked = {"destinations": tenants, "pods": pods, "perNamespace": 1, "perSecond": rate, "seconds": 180}
    with crowds.component(crowd, "broker") as broker, step(f"{tenants * pods:,} pods of {tenants:,} tenants start"):
        began = report.served(crowd.ask("cold", asked | {"address": broker.address}))
        calls = [call["at"] for call in crowd.ask("calls")]
    # A second's calls may be made at once.
    budget = (tenants - STS_PER_SECOND) / STS_PER_SECOND
    figures = [
        Figure(f"cold start of {tenants * pods:,} pods of {tenants:,} tenants, {rate} a second: AssumeRole calls", len(calls), "", tenants),
        Figure("– the most within a second, of a budget of 50 and a burst of 50", report.most_in_a_second(calls), "", 2 * STS_PER_SECOND),
        Figure(f"– the last tenant's first credentials; the budget alone takes {budget:.0f} s", max(report.first_of_each(began)), "s", budget * 1.5),
        Figure("– the longest wait of a pod", max(one["waited"] for one in began), "s", budget * 1.5),
    ]
    crowd.ask("calls")
    one = {"destinations": 1, "pods": 1_000, "perNamespace": 1, "perSecond": 500, "seconds": 60}
    with crowds.component(crowd, "broker") as broker, step("1,000 pods of one tenant start"):
        report.served(crowd.ask("cold", one | {"address": broker.address}))
        calls = crowd.ask("calls")
    figures.append(Figure("1,000 cold requests of one tenant: AssumeRole calls of a replica", len(calls), "", 1))
    with crowds.component(crowd, "broker") as broker, step(f"{tenants * pods:,} pods reconnect within five seconds"):
        began = crowd.ask("cold", asked | {"address": broker.address, "perSecond": 2_000, "seconds": 30})
        crowd.ask("calls")
    share = sum("error" not in one for one in began) / len(began)
    what = f"{tenants * pods:,} pods reconnect within five seconds, as after a restart: share with credentials within 30 s"
    return [*figures, Figure(what, share, "", 1, at_least=True)]


def sessions(crowd):
    count = 10_000
    with crowds.component(crowd, "broker", "--sts-calls-per-second", "500") as broker, step(f"{count:,} sessions"):
        before = broker.memory()[0]
        asked = {"address": broker.address, "destinations": count, "pods": 1, "perNamespace": scale_report.PER_NAMESPACE, "perSecond": 400, "seconds": 180}
        report.served(crowd.ask("cold", asked))
        time.sleep(SETTLE_SECONDS)
        held = broker.memory()[0]
    say(f"{before:.1f} MiB before, {held:.1f} MiB after")
    return [
        Figure(f"broker with {count:,} destinations and sessions of 1.5 KiB tokens: anonymous memory", held, "MiB", 64),
        Figure("– for each session", (held - before) * 1024 / count, "KiB", None),
    ]


def long_polls(crowd):
    figures, costs, opened = [], {}, 0
    with crowds.component(crowd, "broker") as broker:
        before = broker.memory()[0]
        for count in POLLS:
            with step(f"{count:,} long polls"):
                asked = {"address": broker.address, "first": opened, "count": count - opened, "perNamespace": scale_report.PER_NAMESPACE}
                crowd.ask("polls", asked)
                opened = count
                # Before polls are made to begin all at once, which they do not do by themselves.
                if count == POLLS[-1]:
                    stats, memory, share = _polls_with_changes(crowd, broker, opened)
                costs[count] = _cost_of_a_change(crowd, broker, count)
            say(f"{costs[count] * 1e6:.0f} µs of CPU for one change among {count:,} polls; {broker.memory()[0]:.1f} MiB")
        crowd.ask("polls/end")
    say(f"{stats['open']} open, {stats['results']}")
    delays = stats["delays"]
    figures += [
        Figure(f"broker with {opened:,} long polls over TLS, ten changes a second: anonymous memory", memory[0], "MiB", 256),
        Figure("– for each connection", (memory[0] - before) * 1024 / opened, "KiB", None),
        Figure("– CPU, of one core", share * 100, "%", None),
        Figure("– polls that are open", stats["open"], "", opened, at_least=True),
        Figure("– change → the poll's answer, p99", results.quantile(delays, 0.99) * 1000 if delays else float("inf"), "ms", None),
    ]
    figures += [Figure(f"– CPU for one change, among {count:,} polls", cost * 1e6, "µs", None) for count, cost in costs.items()]
    return [*figures, Figure(f"– the same among {POLLS[-1]:,} to {POLLS[0]:,}", costs[POLLS[-1]] / costs[POLLS[0]], "×", 1.5)]


def _polls_with_changes(crowd, broker, count):
    """What has become of the polls after half a minute with ten changes a second, the memory, and the share of a core."""
    time.sleep(SETTLE_SECONDS)
    crowd.ask("polls/stats")
    spent, began = broker.cpu_seconds(), time.monotonic()
    crowd.ask("changes", {"perSecond": 10, "count": 300, "of": count})
    share = (broker.cpu_seconds() - spent) / (time.monotonic() - began)
    return crowd.ask("polls/stats"), broker.memory(), share


def _cost_of_a_change(crowd, broker, count):
    """CPU seconds for one change, in a time in which no poll ends by itself: all have just begun."""
    rate, seconds = 100, 4
    crowd.ask("polls/hold")
    wait_for("all polls to end", lambda: crowd.ask("polls/stats")["held"] >= count, 60)
    crowd.ask("polls/release")
    wait_for("all polls to begin", lambda: crowd.ask("polls/stats")["waiting"] >= count, 12)
    time.sleep(1)
    start = broker.cpu_seconds()
    time.sleep(seconds)
    quiet = broker.cpu_seconds()
    crowd.ask("changes", {"perSecond": rate, "count": rate * seconds, "of": count})
    return max(0, (broker.cpu_seconds() - quiet) - (quiet - start)) / (rate * seconds)


def _p99(outcomes, name):
    outcome = outcomes[name]
    values = outcome["microseconds"]
    good = outcome["results"].get("200", 0)
    if good < 0.99 * len(values):
        say(f"{name}: {outcome['results']}")
    return results.quantile(values, 0.99) / 1000


def latencies(crowd):
    """Both servers beside one that has nothing but /healthz, in turns of two seconds. The broker's callers are so few pods
    that the reviews of their tokens, one each in 30 s, are fewer than one request in a hundred."""
    per = scale_report.PER_NAMESPACE
    with crowds.component(crowd, "broker", "--sts-calls-per-second", "500") as broker, crowds.component(crowd, "webhook") as webhook, crowds.healthz(crowd) as healthz:
        def phase(name, kind, process, rate, connections, spread):
            return {"name": name, "streams": [report.stream("all", kind, process.address, rate, connections, spread=spread, perNamespace=per)]}

        phases = [
            phase("broker", "credentials", broker, 1_000, 200, 25),
            phase("healthz", "healthz", healthz, 1_000, 200, 200),
            phase("webhook", "review", webhook, 200, 20, 20),
            phase("healthz at 200/s", "healthz", healthz, 200, 20, 20),
        ]
        before = [process.cpu_seconds() for process in (broker, webhook, healthz)]
        with step("latencies"):
            outcomes = crowd.ask("load", {"rounds": ROUNDS, "seconds": 2, "phases": phases})
        spent = [process.cpu_seconds() - then for process, then in zip((broker, webhook, healthz), before, strict=True)]
    # The first round is not counted among the latencies, but costs as much.
    requests = [2 * (ROUNDS + 1) * rate for rate in (1_000, 200, 1_200)]
    cpu = [seconds / count * 1e6 for seconds, count in zip(spent, requests, strict=True)]
    say(f"CPU for a request, µs: broker {cpu[0]:.0f}, webhook {cpu[1]:.0f}, /healthz {cpu[2]:.0f}")
    results.keep("tenants-latencies", outcomes)
    p99 = {name: _p99(outcomes, f"{name}/all") for name in ("broker", "healthz", "webhook", "healthz at 200/s")}
    return [
        Figure("broker, warm, p99 at 1,000 requests/s", p99["broker"], "ms", None),
        Figure("– `/healthz` over the same TLS", p99["healthz"], "ms", None),
        Figure("– ratio", p99["broker"] / p99["healthz"], "×", 2),
        Figure("– CPU for one request of the broker, beside one of `/healthz`", cpu[0] / cpu[2], "×", None),
        Figure("webhook, p99 at 200 admissions/s", p99["webhook"], "ms", None),
        Figure("– `/healthz` over the same TLS", p99["healthz at 200/s"], "ms", None),
        Figure("– ratio", p99["webhook"] / p99["healthz at 200/s"], "×", 3),
        Figure("– CPU for one admission, beside a request of `/healthz`", cpu[1] / cpu[2], "×", None),
    ]


def attacks(crowd):
    """Others' p99 while one tenant attacks, beside the same without the attack, in turns of two seconds."""
    per = scale_report.PER_NAMESPACE
    figures = []
    with crowds.component(crowd, "broker", "--sts-calls-per-second", "500") as broker, crowds.component(crowd, "webhook") as webhook:
        for what, victim, attack in report.attacks(broker.address, webhook.address, per):
            phases = [{"name": "control", "streams": [victim]}, {"name": "attacked", "streams": [victim, attack]}]
            with step(what):
                outcomes = crowd.ask("load", {"rounds": 4, "seconds": 2, "phases": phases})
            say(f"the attack: {outcomes['attacked/attack']['results']}")
            control, attacked = _p99(outcomes, "control/victim"), _p99(outcomes, "attacked/victim")
            figures += [
                Figure(f"{what}: p99 of others", attacked, "ms", None),
                Figure("– without it", control, "ms", None),
                Figure("– ratio", attacked / control, "×", 3),
            ]
    return figures
