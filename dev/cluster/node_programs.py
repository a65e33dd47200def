"""Finds containerd, runc, the CNI plugins and iptables in unpacked packages, or on PATH where there is no apt."""

import os
import shutil
from pathlib import Path

from .. import packages
from ..progress import Failure
from . import sandbox

LEGACY = ("iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore")


def _unpacked():
    """Unpacks Debian's packages and links its iptables commands to the legacy ones; None where there is no apt."""
    directory = packages.debian("node-tools", packages.NODE_PACKAGES)
    if directory and not (directory / "links").exists():
        links = directory / "links"
        links.mkdir()
        for name in LEGACY:
            (links / name).symlink_to("../usr/sbin/xtables-legacy-multi")
    return directory


def environment():
    # The nodes share one set of iptables rules but not /run, where its lock would be by default.
    shared = {**os.environ, "XTABLES_LOCKFILE": str(sandbox.FIRST.directory / "mounts" / "run" / "xtables.lock")}
    directory = _unpacked()
    if not directory:
        return shared
    path = [directory / "links", directory / "usr/sbin", directory / "usr/bin", os.environ["PATH"], "/usr/sbin", "/sbin"]
    (libraries,) = directory.glob("usr/lib/*-linux-gnu*")
    return {
        **shared,
        "PATH": ":".join(str(p) for p in path),
        "LD_LIBRARY_PATH": str(libraries),
        "XTABLES_LIBDIR": str(libraries / "xtables"),
    }


def find(name):
    found = shutil.which(name, path=environment()["PATH"])
    if not found:
        raise Failure(f"{name} is not on PATH and there is no apt to unpack it from: install it")
    return found


def cni_directory():
    unpacked = _unpacked()
    places = [unpacked / "usr/lib/cni"] if unpacked else []
    places += [Path(p) for p in ("/opt/cni/bin", "/usr/libexec/cni", "/usr/lib/cni")]
    for place in places:
        if (place / "ptp").exists():
            return place
    raise Failure("there are no CNI plugins: install containernetworking-plugins")
