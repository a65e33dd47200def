"""How long a running sidecar takes to act on an edit."""

import contextlib
import json
import queue
import statistics
import subprocess
import threading
import time
import uuid

from .. import environment, tools
from ..aws.accounts import Customer
from ..demo_story import ACCOUNT, BUCKET, NAMESPACE, clear, tenant_yaml
from ..kube import Kube
from ..paths import KUBECONFIG, ROOT
from ..progress import Failure, step
from . import results
from .clients import OURS

ROUNDS = 50
PATIENCE_SECONDS = 60


def run():
    was_up = environment.running()
    values = environment.up(with_operator=True)
    try:
        rows = _live_configuration(Kube(KUBECONFIG), Customer(values["AWS_ENDPOINT_URL"], ACCOUNT))
    finally:
        if not was_up:
            environment.down()
    table, line = [["from kubectl to the running sidecar", "rounds", "median, s", "p99, s", "longest, s"]], {}
    for name, seconds in rows:
        seconds.sort()
        figures = (statistics.median(seconds), results.quantile(seconds, 0.99), seconds[-1])
        table.append([name, str(len(seconds)), *(f"{figure:.2f}" for figure in figures)])
        line[f"{name}, p99"] = {OURS: f"{figures[1]:.2f} s"}
    return results.Part([results.Table("An edit, kubectl's own time included", table)], line)


def _live_configuration(kube, customer):
    """How long until a running sidecar acts on an edit, kubectl's own time included."""
    external_id = str(uuid.uuid4())
    clear(kube, customer)
    try:
        customer.set_up(BUCKET, external_id)
        kube.must("create", "namespace", NAMESPACE)
        manifest = tenant_yaml(external_id)
        kube.must("apply", "--namespace", NAMESPACE, "--filename", "-", given=manifest)
        kube.must("wait", "--namespace", NAMESPACE, "--for=condition=Ready", "--timeout=60s", "recordingdestination/acme")
        kube.must("apply", "--namespace", NAMESPACE, "--filename", ROOT / "examples" / "recorder.yaml")
        kube.must("wait", "--namespace", NAMESPACE, "--for=condition=Ready", "--timeout=60s", "pod/recorder")
        with _log() as said, step(f"{ROUNDS} rounds of edits"):
            _await(said, "Sending")
            rounds = [_round(kube, said, number) for number in range(ROUNDS)]
    finally:
        clear(kube, customer)
    names = ("suspended: it pauses", "resumed: proved anew, it sends", "another prefix: proved, it sends there")
    return list(zip(names, (list(column) for column in zip(*rounds))))


def _round(kube, said, number):
    suspended = _edit(kube, said, {"suspend": True}, "Paused")
    resumed = _edit(kube, said, {"suspend": False}, "Sending")
    prefix = f"round-{number}/"
    return suspended, resumed, _edit(kube, said, {"prefix": prefix}, "Sending", prefix)


def _edit(kube, said, change, message, prefix=None):
    began = time.monotonic()
    kube.must("patch", "recordingdestination/acme", "--namespace", NAMESPACE, "--type=merge", "--patch", json.dumps({"spec": change}))
    return _await(said, message, prefix) - began


def _await(said, message, prefix=None):
    """When the sidecar logged such a line."""
    while True:
        try:
            at, line = said.get(timeout=PATIENCE_SECONDS)
        except queue.Empty:
            raise Failure(f"the sidecar did not log {message!r} within {PATIENCE_SECONDS} s") from None
        if message in line and (prefix is None or prefix in line):
            return at


@contextlib.contextmanager
def _log():
    """The sidecar's log lines as they come, each with the time of its arrival."""
    argv = [tools.command("kubectl"), "--kubeconfig", KUBECONFIG, "--namespace", NAMESPACE]
    argv += ["logs", "--follow", "recorder", "--container=recording-uploader"]
    said = queue.Queue()
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as follower:

        def read():
            for line in follower.stdout:
                said.put((time.monotonic(), line))

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        try:
            yield said
        finally:
            follower.terminate()
            reader.join()

