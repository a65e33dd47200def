"""The sandbox of the cluster: a network namespace, a cgroup, and a mount namespace for each node.

The network namespace keeps the nodes' addresses, ports and iptables rules off the machine. The mount namespace makes
the kubelet's mounts, and what containerd and the CNI plugins write to /run, /var/log and /var/lib, vanish with the last
process. The cgroup identifies the sandbox's processes, even after a run that was killed.
"""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from .. import process
from ..paths import IS_ROOT, ROOT, RUN
from ..progress import wait_for

NAME = "recording-operator-dev"
SERVICE_RANGE = "10.96.0.0/16"
BRIDGE = "rec-dev"  # inside the namespace only
NETWORK = Path("/run/netns") / NAME
HOLDER = "mounts"  # the process that keeps a node's mount namespace alive
CGROUPS = Path("/sys/fs/cgroup")
CGROUP_V2 = (CGROUPS / "cgroup.controllers").exists()

KUBELET_SYSCTLS = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1000000,
    "kernel/keys/root_maxbytes": 25000000,
}


class Node(NamedTuple):
    """A node has its own addresses, disk, mounts and cgroup. All nodes share the network namespace."""

    name: str
    ip: str
    pod_range: str
    part: str = ""  # its directory below the run's and the cgroup's, and the prefix of its processes and certificates

    @property
    def directory(self):
        return RUN / self.part

    def own(self, name):
        return f"{self.part}-{name}" if self.part else name


FIRST = Node(NAME, "10.77.0.2" if IS_ROOT else "127.0.0.1", "10.244.0.0/24")
SECOND = Node(f"{NAME}-second", "10.77.0.3", "10.244.1.0/24", "second")  # tests start it when they need it
NODES = (FIRST, SECOND)
NODE_IP = FIRST.ip
# Each node has its own disk mounted here, so that a hostPath of one node is not seen by another. The nodes share the
# rest of RUN.
DISK = RUN / "disk"


def create():
    """Creates the sandbox, with the first node. Idempotent. The caller has removed what a broken run left (see remove)."""
    _make_cgroup(FIRST)
    if not NETWORK.exists():
        _ip("netns", "add", NAME)
        inside = ["-n", NAME]
        _ip(*inside, "link", "set", "lo", "up")
        _ip(*inside, "link", "add", BRIDGE, "type", "bridge")
        _ip(*inside, "address", "add", f"{NODE_IP}/24", "dev", BRIDGE)
        _ip(*inside, "link", "set", BRIDGE, "up")
        # Without this route the node could not reach a ClusterIP, so the API server could not call a webhook.
        _ip(*inside, "route", "add", SERVICE_RANGE, "dev", BRIDGE)
        subprocess.run(network(["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"]), check=True)
    _hold_mounts(FIRST)


def add(node):
    """Adds the part of a further node. Idempotent."""
    _make_cgroup(node)
    _ip("-n", NAME, "address", "replace", f"{node.ip}/24", "dev", BRIDGE)
    _hold_mounts(node)


def cut(node):
    """Ends a node's processes and containers and removes its mounts and address, as a power loss would. Its disk stays."""
    _kill(node)
    if NETWORK.exists():
        _ip("-n", NAME, "address", "flush", "dev", BRIDGE, "to", node.ip)
    wait_for(f"the end of the cgroup of {node.name}", lambda: _cgroups_removed(node), 10)
    shutil.rmtree(node.directory / "mounts" / "run", ignore_errors=True)


def outside(argv, node=FIRST):
    """The command line that runs argv outside of the namespaces, in the cgroup of the sandbox or of a node."""
    if not IS_ROOT:
        return argv
    return ["sh", "-c", 'echo $$ >"$0" && exec "$@"', str(_members_file(node)), *argv]


def network(argv):
    """The command line that runs argv in the cluster's network; without root, on the machine's loopback."""
    # `ip netns exec` would remount /sys and hide the cgroups from the kubelet.
    return outside(["nsenter", f"--net={NETWORK}", *argv] if IS_ROOT else argv)


def inside(node):
    """Returns what makes such a command line for the cluster's network and the node's private mounts."""
    mounts = f"/proc/{process.running(node.own(HOLDER))}/ns/mnt"
    return lambda argv: outside(["nsenter", f"--net={NETWORK}", f"--mount={mounts}", f"--wd={RUN}", *argv], node)


def pids(node=FIRST):
    """Every process of the environment or of a further node, containers included."""
    found = set()
    for file in _members_file(node).parent.parent.rglob("cgroup.procs"):
        try:
            found.update(int(line) for line in file.read_text().split())
        except OSError:
            pass
    return found


def owner():
    """The checkout that started the processes of the environment, or None if there are none."""
    for pid in pids():
        try:
            cwd = Path(os.readlink(f"/proc/{pid}/cwd"))
        except OSError:
            continue
        if cwd.parts[-3:] == RUN.parts[-3:]:
            return cwd.parents[2]
    return None


def remove():
    """Ends every process in our cgroup, containers included, then removes the namespace and the cgroup."""
    _kill(FIRST)
    if NETWORK.exists():
        _ip("netns", "delete", NAME)
        _unmount_namespaces()
    wait_for("the end of our cgroup", lambda: _cgroups_removed(FIRST), 10)


def left_behind():
    """Names what the sandbox left on the machine."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [
        *(f"process {pid}" for pid in sorted(pids())),
        *(f"mount {mount}" for mount in mounts if mount.startswith(f"{RUN}/")),
        *(f"namespace {file}" for file in [NETWORK] if file.exists()),
        *(f"cgroup {directory}" for directory in _cgroup_directories(FIRST) if directory.exists()),
    ]


def _kill(node):
    for _ in range(100):
        if not (left := pids(node)):
            break
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.05)


def _make_cgroup(node):
    for directory in _cgroup_directories(node):
        (directory / "system").mkdir(parents=True, exist_ok=True)


def _cgroups_removed(node):
    for top in _cgroup_directories(node):
        for directory, _, _ in os.walk(top, topdown=False):
            os.rmdir(directory)
    return True


def _unmount_namespaces():
    """Unmounts the directory that `ip netns add` mounted for the first namespace, once no namespace is left."""
    if not any(NETWORK.parent.iterdir()):
        subprocess.run(["umount", "--no-mtab", NETWORK.parent], stderr=subprocess.DEVNULL)
        NETWORK.parent.rmdir()


def _hold_mounts(node):
    if process.running(node.own(HOLDER)):
        return
    mounts = node.directory / "mounts"
    disk = node.directory / DISK.name
    for directory in (mounts, disk, DISK):
        directory.mkdir(parents=True, exist_ok=True)
    commands = ["set -e", f"mount --bind '{disk}' '{DISK}'"]
    # The kubelet tunes the kernel of the whole machine. Mounted copies give it the values that it wants to see and write.
    for name, value in KUBELET_SYSCTLS.items():
        copy = mounts / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(f"{value}\n")
        commands.append(f"mount --bind '{copy}' /proc/sys/{name}")
    for place in ("/run", "/var/log", "/var/lib"):
        if ROOT.is_relative_to(place):  # the mount would hide this checkout
            continue
        own = mounts / place[1:].replace("/", "-")
        own.mkdir(parents=True, exist_ok=True)
        commands.append(f"mount --bind '{own}' {place}")
    ready = mounts / "ready"
    ready.unlink(missing_ok=True)
    script = "; ".join([*commands, f": >'{ready}'", "exec sleep infinity"])
    argv = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", script]
    process.start(node.own(HOLDER), argv, via=lambda argv: outside(argv, node))
    wait_for("the node's mounts", ready.exists, 10, 0.02)


def _cgroup_directories(node):
    """The node's cgroup in each hierarchy of version 1, or in that of version 2. The first node's contain the others."""
    if CGROUP_V2:
        return [CGROUPS / NAME / node.part]
    return [d / NAME / node.part for d in sorted(CGROUPS.glob("*")) if d.is_dir() and not d.is_symlink()]


def _members_file(node):
    hierarchy = CGROUPS if CGROUP_V2 else CGROUPS / "pids"
    return hierarchy / NAME / node.part / "system" / "cgroup.procs"


def _ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, stdin=subprocess.DEVNULL)
