"""A real cert-manager beside the cluster: its controllers and its CA injector as processes, its CRDs from its Go module.

    python3 -m dev.cluster.cert_manager up
    python3 -m dev.cluster.cert_manager down    (also removes its CRDs, and with them every Issuer and Certificate)
"""

import argparse
import subprocess
import sys

from .. import process, tools
from ..paths import KUBECONFIG
from ..progress import Failure
from . import sandbox
from .control_plane import ADMIN
from .kube import Kube

MODULE = "github.com/cert-manager/cert-manager"
KINDS = ("certificaterequests", "certificates", "clusterissuers", "issuers")
PARTS = ("controller", "cainjector")


def binary():
    return tools.go_command("cert-manager")


def up():
    """Applies the CRDs and starts what is not running."""
    if not ADMIN.exists():
        raise Failure("there is no cluster to run it beside: make up")
    built, kube = binary(), Kube(KUBECONFIG)
    crds = tools.go_module(MODULE, {"within": "cert-manager"}) / "deploy/crds"
    files = [f"--filename={crds}/cert-manager.io_{kind}.yaml" for kind in KINDS]
    # Server-side, because the CRDs are too large for the last-applied annotation.
    kube.must("apply", "--server-side", *files)
    kube.must("wait", "--for=condition=Established", "--timeout=60s", *_crds())
    for part in PARTS:
        process.start(_name(part), [built, part, ADMIN], via=sandbox.network)


def down():
    for part in PARTS:
        process.stop(_name(part))
    Kube(KUBECONFIG).must("delete", "--ignore-not-found", "--timeout=60s", *_crds())


def _name(part):
    return f"cert-manager-{part}"


def _crds():
    return [f"customresourcedefinition/{kind}.cert-manager.io" for kind in KINDS]


def _main():
    parser = argparse.ArgumentParser(prog="python3 -m dev.cluster.cert_manager", description=__doc__)
    parser.add_argument("command", choices=("up", "down"))
    arguments = parser.parse_args()
    try:
        {"up": up, "down": down}[arguments.command]()
    except (Failure, subprocess.CalledProcessError) as failure:
        sys.exit(f"cert-manager: {failure}")


if __name__ == "__main__":
    _main()
