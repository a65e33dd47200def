"""`make demo`: the main job, from a tenant's YAML to the recording in the tenant's bucket.

CONTEXT, IMAGE and AWS_ENDPOINT_URL point it at a cluster of the caller's. The stand-in must then be
reachable at AWS_ENDPOINT_URL from here and, unless the operator is installed already, from the pods.
"""

import os
from pathlib import Path

from ..aws.accounts import Customer
from ..cluster import environment, operator
from ..cluster.kube import Kube
from ..paths import IS_ROOT, KUBECONFIG, ROOT
from ..progress import Failure, say, step
from . import processes, story
from .story import NAMESPACE, title


def run():
    if context := os.environ.get("CONTEXT"):
        return _in_callers_cluster(context)
    was_up = environment.running()
    try:
        if IS_ROOT:
            _in_own_cluster()
        else:
            processes.run()
    finally:
        if not was_up:
            environment.down()
            say("cleaned up; `make up` keeps the environment running")


def _in_own_cluster():
    values = environment.up(with_operator=True)
    kube = Kube(KUBECONFIG)
    story.tell(kube, Customer(values["AWS_ENDPOINT_URL"], story.ACCOUNT), Pod(kube))


def _in_callers_cluster(context):
    missing = [name for name in ("IMAGE", "AWS_ENDPOINT_URL") if not os.environ.get(name)]
    if missing:
        raise Failure(f"CONTEXT is set, so {' and '.join(missing)} must be too: the demo then uses your own cluster")
    image, endpoint = os.environ["IMAGE"], os.environ["AWS_ENDPOINT_URL"]
    kube = Kube(context=context)
    if kube.run("get", "deployment", f"{operator.NAME}-controller", "--namespace", operator.NAME).returncode == 0:
        say(f"the operator is installed in {context}: using it as it is")
    else:
        operator.install_chart(kube, image, "IfNotPresent", endpoint)
    story.tell(kube, Customer(endpoint, story.ACCOUNT), Pod(kube))


class Pod:
    """A recorder pod, into which the webhook injects the upload sidecar."""

    def __init__(self, kube):
        self._kube = kube

    def start(self):
        operator.wait_until_admitted(self._kube, NAMESPACE)
        title("A recorder pod gets its upload sidecar, and records")
        manifest = (ROOT / "dev" / "demo" / "recorder.yaml").read_text()
        self._kube.must("apply", "--namespace", NAMESPACE, "--filename", "-", given=manifest)
        with step("waiting for the pod"):
            self._kube.must("wait", "--namespace", NAMESPACE, "--for=condition=Ready", "--timeout=90s", "pod/recorder")
        columns = "POD:.metadata.name,SIDECAR:.spec.initContainers[*].name,CONTAINER:.spec.containers[*].name"
        self._kube.show("get", "pod", "recorder", "--namespace", NAMESPACE, f"--output=custom-columns={columns}")

    def record(self, name, content):
        """Writes a file and renames it into place, which is when the sidecar takes it."""
        script = f"cat > /recordings/{name}.part && mv /recordings/{name}.part /recordings/{name}"
        self._kube.must("exec", "--stdin", *self._container(), "sh", "-c", script, given=content)

    def show_spool(self):
        self._kube.show("exec", *self._container(), "ls", "-l", "/recordings")

    def stop(self):
        """Shows the memory in use. The pod is removed with its namespace."""
        _show_sizes()

    def _container(self):
        return ("recorder", "--namespace", NAMESPACE, "--container", "recorder", "--")


def _show_sizes():
    """Prints the resident memory of the product's processes on this machine; a node elsewhere is not seen."""
    sizes = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            argv = (status.parent / "cmdline").read_bytes().decode().split("\0")
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        except OSError:
            continue  # the process ended in between
        if argv[0] in ("/recording-operator", "/recording-uploader"):
            name = " ".join(argv[:2]) if argv[0].endswith("operator") else argv[0]
            sizes.append((name[1:], int(fields["VmRSS"].split()[0]) / 1024))
    if sizes:
        title("Resident memory")
        for name, mib in sorted(sizes):
            print(f"  {name:<32}{mib:6.1f} MiB")
