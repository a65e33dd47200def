"""The cluster, the stand-in for AWS and the operator: started in order, reused when up, removed without a trace."""

import json
import shutil
import subprocess

from .. import aws, process, tools
from ..aws.accounts import PLATFORM_PRINCIPAL_ARN
from ..paths import ENV_FILE, IN_CI, IS_ROOT, KUBECONFIG, ROOT, RUN
from ..progress import Failure, say, step
from . import control_plane, image, node, operator, pki, sandbox
from .forward import forward, free_port
from .kube import Kube

AWS_PORT = 4566
# Pods call the stand-in over TLS, as they call AWS.
AWS_TLS_PORT = 4567
AWS_PROCESS = "aws-proxy"
# Each process stops before the ones that it calls.
NODE_PROCESSES = ("kubelet", "kube-proxy", "coredns", "containerd", "kube-scheduler")
CONTROL_PLANE_PROCESSES = ("kube-controller-manager", "kube-apiserver", "etcd")
STOP_ORDER = NODE_PROCESSES + CONTROL_PLANE_PROCESSES


def running():
    expected = STOP_ORDER if IS_ROOT else CONTROL_PLANE_PROCESSES
    return all(process.running(name) for name in (*expected, AWS_PROCESS))


def up(with_operator):
    """Starts what is not running; returns the environment's NAME=value pairs, also written to target/dev/env."""
    if not running():
        clear_leftovers()
        tools.link_commands()
        RUN.mkdir(parents=True, exist_ok=True)
        _cluster()
    values = {
        "KUBECONFIG": str(KUBECONFIG),
        "AWS_ENDPOINT_URL": _aws(),
        "PLATFORM_PRINCIPAL_ARN": PLATFORM_PRINCIPAL_ARN,
    }
    if with_operator:
        operator.install(*_endpoint_for_pods())
    ENV_FILE.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    return values


def down():
    """Stops every process and removes all files, mounts, namespaces and cgroups, whatever state they are in."""
    _refuse_foreign()
    others = [name for name in process.names() if name not in (*STOP_ORDER, sandbox.HOLDER)]
    for name in (*others, *STOP_ORDER):
        process.stop(name)
    if IS_ROOT:
        sandbox.remove()
    shutil.rmtree(RUN, ignore_errors=True)
    for file in (ENV_FILE, KUBECONFIG):
        file.unlink(missing_ok=True)


def left_behind():
    """Names what `down` should have removed; empty when the machine is clean."""
    left = [f"directory {RUN}"] if RUN.exists() else []
    return left + sandbox.left_behind() if IS_ROOT else left


def clear_leftovers():
    """Removes what an interrupted run left."""
    _refuse_foreign()
    if RUN.exists() or (IS_ROOT and sandbox.left_behind()):
        with step("removing what an earlier run left"):
            down()


def _refuse_foreign():
    """A machine has one sandbox. In CI no other checkout runs, so that what one left is removed."""
    owner = sandbox.owner() if IS_ROOT and not IN_CI else None
    if owner not in (None, ROOT):
        raise Failure(f"the environment of {owner} is up: end it with `make -C {owner} down`")


def _cluster():
    if IS_ROOT:
        sandbox.create()
    else:
        say("without root there is no node: the API server and its controllers run, but no pod will")
    with step("starting the control plane"):
        control_plane.start()
        manifest = tools.HERE / "cluster" / "bindings.yaml"
        subprocess.run(
            [tools.command("kubectl"), "--kubeconfig", KUBECONFIG, "apply", "--filename", manifest],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    if IS_ROOT:
        _name_the_stand_in()
        images = [image.pause(), image.busybox()]
        with step("starting the node"):
            node.start()
            for built in images:
                node.load(built)


def _name_the_stand_in():
    """Creates a Service without pods, whose name resolves to the node's address, where the stand-in listens."""
    service, namespace = pki.AWS_NAME.split(".")
    metadata = {"name": service, "namespace": namespace, "labels": {"kubernetes.io/service-name": service}}
    port = {"name": "https", "port": AWS_TLS_PORT}
    items = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"clusterIP": "None", "ports": [port]}},
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": metadata,
            "addressType": "IPv4",
            "ports": [port],
            "endpoints": [{"addresses": [sandbox.NODE_IP]}],
        },
    ]
    manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    Kube(KUBECONFIG).must("apply", "--filename", "-", given=manifest)


def _endpoint_for_pods():
    """The stand-in's URL and CA certificates, for pods."""
    return f"https://{pki.AWS_NAME}:{AWS_TLS_PORT}", (pki.PKI / "ca.crt").read_text()


def _aws():
    """Starts the stand-in, whose state is in memory, and returns its endpoint for an ordinary shell."""
    port_file = RUN / "aws-port"
    if not process.running(AWS_PROCESS):
        port = AWS_PORT if IS_ROOT else free_port(AWS_PORT)
        port_file.write_text(str(port))
        with step("starting the stand-in for AWS"):
            tls = aws.standin.TLS(AWS_TLS_PORT, pki.PKI / "aws.crt", pki.PKI / "aws.key") if IS_ROOT else None
            aws.start(RUN, sandbox.NODE_IP, port, sandbox.network([]), tls)
    return f"http://127.0.0.1:{forward('aws', AWS_PORT, int(port_file.read_text()))}"
