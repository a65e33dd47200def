"""What thousands of proved destinations cost, and how soon the controller acts among them.

The destinations are made, and their statuses written as the controller would have written them, by impersonation: AWS knows
nothing of them, so any call for one of them is one that was not due.
"""

import contextlib
import itertools
import json
import os
import statistics
import subprocess
import threading
import time
import uuid
from pathlib import Path

from .. import tools
from ..aws.accounts import Customer
from ..chart import NAME
from ..cluster import control_plane, environment, sandbox
from ..cluster.kube import Kube
from ..demo.story import ACCOUNT, BUCKET, NAMESPACE, clear, tenant_yaml
from ..paths import KUBECONFIG, RUN
from ..progress import Failure, say, step, wait_for
from . import results
from . import scale_report as report
from .scale_api import APPLY, MERGE, Api, each

SIZES = (1_000, 10_000)
CONTROLLER = f"{NAME}:{NAME}-controller"
WRITERS = 8
CHANGES_PER_SECOND, CHANGES = 10, 600
IDLE_SECONDS = 60
API = "/apis/recordings.revenue.io/v1alpha1"
ALL = f"{API}/recordingdestinations"
DEPLOYMENT = (f"deployment/{NAME}-controller", "--namespace", NAME)
ACCESS_LOG = RUN / "aws" / "access.jsonl"


def run():
    was_up = environment.running()
    values = environment.up(with_operator=True)
    kube = Kube(KUBECONFIG)
    api = Api(kube)
    try:
        template = _proved_status(kube, Customer(values["AWS_ENDPOINT_URL"], ACCOUNT))
        return _measure(kube, api, template)
    finally:
        if was_up:
            _remove(api)
        else:
            environment.down()


def _measure(kube, api, template):
    memory, figures = [], []
    places = []
    for size in SIZES:
        _stop(kube)
        with step(f"{size - len(places)} more proved destinations"):
            places += _seed(api, template, range(len(places), size))
        figures = [("restart → first status after a change, s", f"{_restart(kube, api, places):.1f}", "≤ 15")]
        writes, calls = _idle(api)
        figures += [("status writes while nothing is due, after a restart", writes, "0"), ("AWS calls meanwhile", calls, "0")]
        _scrape(api)
        memory += [(size, component, *of) for component, of in _memory().items()]
    figures += _latency(kube, api, places)
    converged, ours = _convergence(kube, api, places)
    figures += converged
    time.sleep(IDLE_SECONDS)
    memory += [(f"{size}, after all of this", component, *of) for component, of in _memory().items()]
    figures += _twin(kube, api, places, ours, memory)
    results.keep("scale", {"memory": memory, "figures": figures})
    return results.Part([report.memory_table(memory), report.figures_table(len(places), figures)])


def _proved_status(kube, customer):
    """The status of a destination that was really validated."""
    external_id = str(uuid.uuid4())
    clear(kube, customer)
    try:
        customer.set_up(BUCKET, external_id)
        kube.must("create", "namespace", NAMESPACE)
        kube.must("apply", "--namespace", NAMESPACE, "--filename", "-", given=tenant_yaml(external_id))
        kube.must("wait", "--namespace", NAMESPACE, "--for=condition=Ready", "--timeout=60s", "recordingdestination/acme")
        found = json.loads(kube.must("get", "recordingdestination/acme", "--namespace", NAMESPACE, "--output", "json"))
        return {"bucket": found["spec"]["bucket"], "status": found["status"]}
    finally:
        clear(kube, customer)


def _now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _path(place):
    namespace, name = place
    return f"{API}/namespaces/{namespace}/recordingdestinations/{name}"


def _seed(api, template, numbers):
    """Creates destinations with their Secrets and statuses, while no controller runs."""

    def namespace(name):
        api.call("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    def destination(number):
        place, spec = report.place_of(number), report.spec_of(number)
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": place[1]},
            "type": "recordings.revenue.io/external-id",
            "stringData": {"externalID": str(uuid.uuid4())},
        }
        version = api.call("POST", f"/api/v1/namespaces/{place[0]}/secrets", secret)["metadata"]["resourceVersion"]
        about = {"apiVersion": "recordings.revenue.io/v1alpha1", "kind": "RecordingDestination", "metadata": {"name": place[1]}}
        made = api.call("POST", f"{API}/namespaces/{place[0]}/recordingdestinations", {**about, "spec": spec})
        # Conditions name the generation that they are of.
        if made["metadata"]["generation"] != 1:
            raise Failure(f"{place} is of generation {made['metadata']['generation']}")
        status = {**about, "status": report.seeded_status(template, spec, version, _now())}
        _write_status(api, place, status)
        return place

    each(WRITERS, namespace, sorted({report.place_of(number)[0] for number in numbers}))
    return each(WRITERS, destination, numbers)


def _write_status(api, place, document):
    """As the controller writes it."""
    api.call("PATCH", f"{_path(place)}/status?fieldManager=recording-controller&force=true", document, APPLY, CONTROLLER)


def _remove(api):
    names = [item["metadata"]["name"] for item in api.call("GET", "/api/v1/namespaces")["items"]]
    with step("removing the destinations"):
        each(WRITERS, lambda name: api.call("DELETE", f"/api/v1/namespaces/{name}"), [n for n in names if n.startswith(report.PREFIX)])


def _stop(kube):
    kube.must("scale", *DEPLOYMENT, "--replicas=0")
    wait_for("the controller's end", lambda: not _pids("controller"), 60)


def _begin(kube):
    kube.must("scale", *DEPLOYMENT, "--replicas=1")


def _pids(component):
    """Processes of a component. Those of containers are seen from the machine."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (directory / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if arguments[0].endswith(b"recording-operator") and component.encode() in arguments[1:2]:
            found.append(int(directory.name))
    return found


def _memory():
    """The largest process of each component."""
    texts = {component: [Path(f"/proc/{pid}/status").read_text() for pid in _pids(component)] for component in report.COMPONENTS}
    return {component: max((report.memory_of(text) for text in of), default=(0, 0, 0)) for component, of in texts.items()}


def _restart(kube, api, places):
    """From the start of the controller to the first status that follows a change made meanwhile."""
    place = places[len(places) // 2]
    generation = api.call("PATCH", _path(place), {"spec": {"suspend": True}}, MERGE)["metadata"]["generation"]
    began = time.monotonic()
    _begin(kube)
    wait_for("the controller's process", lambda: _pids("controller"), 60)
    started = time.monotonic()
    wait_for("the status", lambda: _observed(api.call("GET", _path(place))) >= generation, 120)
    took = time.monotonic() - started
    say(f"{took:.1f} s from the start of its process, {time.monotonic() - began:.1f} s from scaling the Deployment")
    kube.must("rollout", "status", *DEPLOYMENT, "--timeout=120s")
    return took


def _observed(destination):
    return destination.get("status", {}).get("observedGeneration", -1)


def _aws_calls():
    with open(ACCESS_LOG, "rb") as log:
        return sum(1 for _ in log)


def _idle(api):
    """Status writes and AWS calls in a minute in which nothing is due."""
    before = report.status_writes(api.text("/metrics")), _aws_calls()
    with step(f"{IDLE_SECONDS} s of rest"):
        time.sleep(IDLE_SECONDS)
    after = report.status_writes(api.text("/metrics")), _aws_calls()
    return tuple(now - then for now, then in zip(after, before, strict=True))


def _scrape(api):
    """Reads the controller's metrics, as Prometheus does all the time."""
    selector = "labelSelector=app.kubernetes.io/component%3Dcontroller"
    pod = api.call("GET", f"/api/v1/namespaces/{NAME}/pods?{selector}")["items"][0]["metadata"]["name"]
    for _ in range(3):
        text = api.text(f"/api/v1/namespaces/{NAME}/pods/{pod}:8080/proxy/metrics")
    say(f"{len(text) / 2**20:.0f} MiB of metrics")


def _latency(kube, api, places):
    """From a change to its status at ten changes a second: the controller, and the barest client that does the same."""
    ours = _changes_followed(api, places)
    _stop(kube)
    done = threading.Event()
    threading.Thread(target=_bare_client, args=(api, done), daemon=True).start()
    theirs = _changes_followed(api, places)
    done.set()
    results.keep("scale-latency", {"controller": ours, "bare": theirs})
    p99 = [results.quantile(waits, 0.99) for waits in (ours, theirs)]
    return [
        ("change → status at 10 changes/s, p99, s", f"{p99[0]:.3f}", ""),
        ("the same by a bare GET-PATCH client that watches, s", f"{p99[1]:.3f}", ""),
        ("ratio", f"{p99[0] / p99[1]:.2f}", "≤ 3"),
        ("change → status, median, s", f"{statistics.median(ours):.3f}", ""),
    ]


def _changes_followed(api, places):
    """Suspends destinations, one after the other, and returns how long each status took."""
    asked, done = {}, {}
    seconds = CHANGES // CHANGES_PER_SECOND + 60
    since = api.call("GET", f"{ALL}?limit=1")["metadata"]["resourceVersion"]

    def follow():
        for event in api.watch(ALL, since, seconds):
            found = event["object"]
            key = (found["metadata"].get("namespace"), found["metadata"].get("name"), _observed(found))
            done.setdefault(key, time.monotonic())

    threading.Thread(target=follow, daemon=True).start()
    begin = time.monotonic()
    # A resumed destination is validated, so each is changed once, to be suspended.
    changed = itertools.islice((place for place in places if not _is_suspended(api, place)), CHANGES)
    with step(f"{CHANGES} changes"):
        for number, place in enumerate(changed):
            time.sleep(max(0, begin + number / CHANGES_PER_SECOND - time.monotonic()))
            at = time.monotonic()
            generation = api.call("PATCH", _path(place), {"spec": {"suspend": True}}, MERGE)["metadata"]["generation"]
            asked[(*place, generation)] = at
        wait_for("the last statuses", lambda: asked.keys() <= done.keys(), 60)
    return [done[key] - at for key, at in asked.items()]


def _is_suspended(api, place):
    return api.call("GET", _path(place))["spec"].get("suspend", False)


def _bare_client(api, done):
    """Watches, and for each change reads the destination and writes its status."""
    since = api.call("GET", f"{ALL}?limit=1")["metadata"]["resourceVersion"]
    for event in api.watch(ALL, since, CHANGES // CHANGES_PER_SECOND + 120):
        if done.is_set():
            return
        metadata = event["object"]["metadata"]
        if event["type"] == "MODIFIED" and _observed(event["object"]) != metadata["generation"]:
            found = api.call("GET", _path((metadata["namespace"], metadata["name"])))
            _write_status(api, (metadata["namespace"], metadata["name"]), report.suspended(found))


def _convergence(kube, api, places):
    """All destinations are suspended while no controller runs; then it reports all of them."""
    _stop(kube)
    left = [place for place in places if not _is_suspended(api, place)]
    each(WRITERS, lambda place: api.call("PATCH", _path(place), {"spec": {"suspend": True}}, MERGE), left)
    sample = left[: len(left) // 10]
    with step(f"{len(sample)} statuses by a raw loop"):
        documents = [(place, report.suspended(api.call("GET", _path(place)))) for place in sample]
        began = time.monotonic()
        for place, document in documents:
            _write_status(api, place, document)
        raw = len(sample) / (time.monotonic() - began)
    # The controller finds nothing to report about these.
    rest = len(left) - len(sample)
    with _written(api, rest, "the controller") as samples:
        _begin(kube)
    ours = report.rate(samples, rest)
    figures = [
        ("statuses a second when all are to be written", f"{ours:.0f}", ""),
        ("the same by a raw loop of PATCHes, one client", f"{raw:.0f}", ""),
        ("ratio", f"{ours / raw:.2f}", "≥ 0.8"),
    ]
    return figures, ours


@contextlib.contextmanager
def _written(api, count, who):
    """Fills a list with (time, statuses written) each second, from the body's start until so many are written."""
    before, samples = report.status_writes(api.text("/metrics")), []
    with step(f"{count} statuses by {who}"):
        yield samples
        while not samples or samples[-1][1] < count:
            samples.append((time.monotonic(), report.status_writes(api.text("/metrics")) - before))
            if len(samples) > 600:
                raise Failure(f"{samples[-1][1]} of {count} statuses within {len(samples)} s")
            time.sleep(1)


def _twin(kube, api, places, ours, memory):
    """The same by a minimal controller in Go: every status is out of date, and it writes them all."""
    _stop(kube)
    edit = {"spec": {"validation": {"intervalSeconds": 500_000}}}
    each(WRITERS, lambda place: api.call("PATCH", _path(place), edit, MERGE), places)
    with _twin_running(kube) as process:
        with _written(api, len(places), "the twin") as samples:
            pass
        time.sleep(IDLE_SECONDS)
        theirs = report.memory_of(Path(f"/proc/{process.pid}/status").read_text())
    _begin(kube)
    rate = report.rate(samples, len(places))
    held = next(of for size, component, *of in reversed(memory) if component == "controller")
    return [
        ("statuses a second by a controller-runtime twin in Go", f"{rate:.0f}", ""),
        ("ratio", f"{ours / rate:.2f}", "≥ 1"),
        ("memory of the twin, anonymous, MiB", f"{theirs[0]:.1f}", ""),
        ("ratio of ours to it", f"{held[0] / theirs[0]:.2f}", "≤ 0.35"),
    ]


@contextlib.contextmanager
def _twin_running(kube):
    """Runs where the controller's pod does: beside the API server."""
    config = json.loads(kube.must("config", "view", "--raw", "--minify", "--flatten", "--output", "json"))
    config["clusters"][0]["cluster"]["server"] = control_plane.url()
    kubeconfig = RUN / "twin.json"
    kubeconfig.write_text(json.dumps(config))
    argv = [tools.go_command("bench/twin"), "-user", f"system:serviceaccount:{CONTROLLER}"]
    log = open(RUN / "twin.log", "w")
    with log, subprocess.Popen(sandbox.inside(sandbox.FIRST)(argv), env={**os.environ, "KUBECONFIG": str(kubeconfig)}, stderr=log) as process:
        try:
            yield process
        finally:
            process.terminate()
