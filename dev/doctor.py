"""What the machine must have. Each missing thing is named with the command that gets it."""

import re
import shutil
import subprocess
import sys

from .paths import IS_ROOT, ROOT, TARGET
from .progress import Failure
from .tools import HERE

GIGABYTE = 10**9
FREE_FOR_A_FIRST_BUILD = 20 * GIGABYTE
FREE_AFTERWARDS = 5 * GIGABYTE


def check(quiet):
    """Fails with the list of what is missing; says that nothing is, unless quiet."""
    missing = list(_missing())
    if missing:
        raise Failure("this machine lacks:\n" + "\n".join(f"  - {what}\n      {remedy}" for what, remedy in missing))
    if not quiet:
        print("Nothing is missing." if IS_ROOT else f"Nothing is missing but root: {WITHOUT_ROOT}.")


WITHOUT_ROOT = "no node can run, so pods, the chart's installation and the tests that need them are left out"


def _missing():
    if sys.version_info < (3, 10):
        yield "Python 3.10 or later", "apt-get install python3"
    yield from _toolchain("go", ["go", "env", "GOVERSION"], _go_version(), "apt-get install golang-go")
    yield from _toolchain("cargo", ["cargo", "--version"], _rust_version(), "rustup update stable")
    yield from _commands({"make": "make", "git": "git", "cc": "gcc", "c++": "g++"})
    if shutil.which("cc") and not _has_static_libc():
        yield "the C library to link statically", "apt-get install libc6-dev"
    if IS_ROOT:
        yield from _commands({"ip": "iproute2", "nsenter": "util-linux", "unshare": "util-linux", "mount": "mount"})
        if not shutil.which("apt-get"):
            packages = {"containerd": "containerd", "runc": "runc", "iptables": "iptables", "conntrack": "conntrack"}
            yield from _commands(packages)
    yield from _disk()


def _commands(packages):
    for command, package in packages.items():
        if not shutil.which(command):
            yield command, f"apt-get install {package}"


def _toolchain(name, version_command, wanted, remedy):
    if not shutil.which(name):
        yield f"{name} {wanted} or later", f"{remedy}    (or, if that is older, the release from the project's own site)"
        return
    found = re.search(r"\d+\.\d+", subprocess.run(version_command, capture_output=True, text=True, cwd=ROOT).stdout)
    if not found or _numbers(found[0]) < _numbers(wanted):
        have = found[0] if found else "none that answers"
        yield f"{name} {wanted} or later; here is {have}", f"{remedy}    (or, if that is older, the project's own release)"


def _disk():
    TARGET.mkdir(parents=True, exist_ok=True)
    built = any((TARGET / "tools").glob("kubernetes-*"))
    wanted = FREE_AFTERWARDS if built else FREE_FOR_A_FIRST_BUILD
    free = shutil.disk_usage(TARGET).free
    if free < wanted:
        yield (
            f"{wanted // GIGABYTE} GB of free disk at {TARGET}; here are {free // GIGABYTE}",
            "make room, or clone the repository to a larger disk",
        )


def _has_static_libc():
    found = subprocess.run(["cc", "-print-file-name=libc.a"], capture_output=True, text=True).stdout.strip()
    return found.startswith("/")


def _go_version():
    return re.search(r"^go (\d+\.\d+)", (HERE / "k8s" / "go.mod").read_text(), re.MULTILINE)[1]


def _rust_version():
    return re.search(r'^rust-version = "(\d+\.\d+)', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]


def _numbers(version):
    return tuple(int(part) for part in version.split("."))
