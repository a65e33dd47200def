"""The whole cluster, started and stopped in order."""

import shutil
import subprocess

from . import control_plane, image, node, process, sandbox, tools
from .paths import ENV_FILE, IN_CI, IS_ROOT, KUBECONFIG, ROOT, RUN
from .progress import Failure, say, step

# Clients before what they talk to.
STOP_ORDER = (
    "kubelet", "kube-proxy", "coredns", "containerd", "kube-scheduler", "kube-controller-manager",
    "kube-apiserver", "etcd",
)  # fmt: skip


def build_tools():
    """One after the other: two builds at once are slower on a small machine."""
    for name in tools.PINS["go"] if IS_ROOT else ("kube", "helm"):
        tools.go(name)
    tools.link_commands()
    if IS_ROOT:
        image.pause()
        image.busybox()


def start():
    """Starts the cluster, or what is missing of it. Returns whether all of it ran already."""
    if running():
        return True
    clear_leftovers()
    build_tools()
    RUN.mkdir(parents=True, exist_ok=True)
    if not IS_ROOT:
        say("without root there is no node: only etcd, kube-apiserver and kube-controller-manager; no pod will run")
    else:
        sandbox.create()
    with step("starting the control plane"):
        server = control_plane.start()
        kubectl("apply", "--filename", tools.HERE / "manifests" / "cluster.yaml")
    if IS_ROOT:
        with step("starting the node"):
            node.start(server)
        for tarball in (image.pause(), image.busybox()):
            node.load(tarball)
    return False


def running():
    wanted = STOP_ORDER if IS_ROOT else ("kube-controller-manager", "kube-apiserver", "etcd")
    return all(process.running(name) for name in wanted)


def stop():
    """Ends everything and removes it from the machine, whatever state it is in."""
    order = [*(n for n in process.names() if n not in STOP_ORDER and n != sandbox.HOLDER), *STOP_ORDER]
    for name in order:
        process.stop(name)
    if IS_ROOT:
        sandbox.remove()
    process.stop(sandbox.HOLDER)
    shutil.rmtree(RUN, ignore_errors=True)
    for file in (ENV_FILE, KUBECONFIG):
        file.unlink(missing_ok=True)


def clear_leftovers():
    """Removes what a broken run left, here or in another checkout of a machine whose tests run alone."""
    if IS_ROOT and (other := sandbox.owner()) not in (None, ROOT) and not IN_CI:
        raise Failure(f"the environment of {other} is up: end it with `make -C {other} down`")
    if RUN.exists() or (IS_ROOT and sandbox.exists()):
        with step("removing what an earlier run left"):
            stop()


def left_behind():
    """What `stop` should have removed, in words; empty when the machine is clean."""
    if not IS_ROOT:
        return []
    mounts = [line.split()[4] for line in open("/proc/self/mountinfo") if f" {RUN}" in line]
    namespaces = [str(sandbox.NETWORK)] if sandbox.NETWORK.exists() else []
    processes = [f"process {pid}" for pid in sorted(sandbox.pids())]
    return [*processes, *(f"mount {m}" for m in mounts), *(f"namespace {n}" for n in namespaces), *sandbox.cgroups()]


def kubectl(*arguments):
    subprocess.run(
        [tools.command("kubectl"), f"--kubeconfig={KUBECONFIG}", *arguments], check=True, stdout=subprocess.DEVNULL
    )
