"""One node: containerd, kubelet, kube-proxy and the cluster's DNS, out of unpacked packages."""

import json
import os
import shutil
import subprocess
from pathlib import Path

from . import control_plane, packages, pki, process, sandbox, tools
from .control_plane import CONFIG
from .paths import RUN
from .progress import Failure, wait_for
from .sandbox import NODE_IP

SOCKET = RUN / "containerd.sock"
POD_RANGE = "10.244.0.0/24"
LEGACY = ("iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore")

CONTAINERD_CONFIG = """\
version = 2
root = "{run}/containerd"
state = "{run}/containerd-state"
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "pause:dev"
  restrict_oom_score_adj = true # root may lack the right to lower it
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = "{runc}"
      SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni}"
    conf_dir = "{config}/cni"
"""

COREFILE = """\
.:53 {{
    bind {address}
    errors
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {kubeconfig}
    }}
    cache 5
}}
"""


def start(server):
    """Starts what is not running yet and returns once the node is Ready."""
    environment = _environment()
    (CONFIG / "cni").mkdir(parents=True, exist_ok=True)
    _containerd(environment)
    _kubelet(server, environment)
    _kube_proxy(server, environment)
    _coredns(server)
    wait_for("a Ready node", _ready, 120, 0.3)
    for name in ("kube-proxy", "coredns"):
        process.require(name)


def load(image):
    """Imports an image unless its content is there already."""
    if not image:
        return
    record = RUN / "images" / image.tarball.name
    if record.exists() and record.read_text() == image.tag:
        return
    subprocess.run(
        [_find("ctr"), "--address", SOCKET, "--namespace", "k8s.io", "images", "import", image.tarball],
        check=True, stdout=subprocess.DEVNULL, env=_environment(),
    )  # fmt: skip
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(image.tag)


def _containerd(environment):
    config = CONFIG / "containerd.toml"
    config.write_text(
        CONTAINERD_CONFIG.format(run=RUN, config=CONFIG, socket=SOCKET, runc=_find("runc"), cni=_cni_directory())
    )
    # Routed pairs rather than a bridge: a bridge would need a kernel module for Services to work between its pods.
    network = {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(RUN / "cni"),
                    "ranges": [[{"subnet": POD_RANGE}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
    (CONFIG / "cni" / "pods.conflist").write_text(json.dumps(network))
    process.start("containerd", [_find("containerd"), f"--config={config}"], via=sandbox.node, env=environment)
    wait_for("containerd", lambda: process.require("containerd") or SOCKET.exists(), 20)


def _kubelet(server, environment):
    (CONFIG / "resolv.conf").touch()
    config = CONFIG / "kubelet.json"
    settings = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_IP,
        "authentication": {"x509": {"clientCAFile": str(pki.PKI / "ca.crt")}},
        "tlsCertFile": str(pki.PKI / "kubelet-server.crt"),
        "tlsPrivateKeyFile": str(pki.PKI / "kubelet-server.key"),
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{sandbox.NAME}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "syncFrequency": "10s",  # a changed Secret reaches its pods in seconds: tests wait for that
        "oomScoreAdj": 0,
        # Its probe of the disk does not know every root device.
        "localStorageCapacityIsolation": False,
        # The disk belongs to the machine's user: neither images nor pods go because it fills.
        "evictionHard": {"memory.available": "100Mi"},
        "imageGCHighThresholdPercent": 100,
        "clusterDNS": [NODE_IP],
        "clusterDomain": "cluster.local",
        "resolvConf": str(CONFIG / "resolv.conf"),
        "volumePluginDir": str(RUN / "volume-plugins"),
    }
    config.write_text(json.dumps(settings, indent=2))
    process.start(
        "kubelet",
        [
            tools.command("kubelet"),
            f"--config={config}",
            f"--kubeconfig={pki.write_kubeconfig(CONFIG / 'kubelet.kubeconfig', 'kubelet', server)}",
            f"--root-dir={RUN / 'kubelet'}",
            f"--hostname-override={pki.NODE}",
            f"--node-ip={NODE_IP}",
        ],
        via=sandbox.node,
        env=environment,
    )


def _kube_proxy(server, environment):
    process.start(
        "kube-proxy",
        [
            tools.command("kube-proxy"),
            f"--kubeconfig={pki.write_kubeconfig(CONFIG / 'proxy.kubeconfig', 'proxy', server)}",
            f"--hostname-override={pki.NODE}",
            "--proxy-mode=iptables",
            f"--cluster-cidr={POD_RANGE}",
            "--iptables-localhost-nodeports=false",
            "--oom-score-adj=0",
            # Connection tracking limits are the machine's, not the namespace's.
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0",
            "--conntrack-tcp-timeout-close-wait=0",
        ],
        via=sandbox.node,
        env=environment,
    )


def _coredns(server):
    kubeconfig = pki.write_kubeconfig(CONFIG / "coredns.kubeconfig", "coredns", server)
    corefile = CONFIG / "Corefile"
    corefile.write_text(COREFILE.format(address=NODE_IP, kubeconfig=kubeconfig))
    process.start("coredns", [tools.command("coredns"), "-conf", corefile], via=sandbox.network)


def _ready():
    process.require("kubelet")
    process.require("containerd")
    answer = subprocess.run(
        [tools.command("kubectl"), f"--kubeconfig={control_plane.KUBECONFIG}", "get", "node", pki.NODE,
         "-o", "jsonpath={.status.conditions[?(@.type=='Ready')].status}"],
        capture_output=True, text=True,
    )  # fmt: skip
    return answer.stdout == "True"


def _unpacked():
    """Debian's packages and the links that make its iptables the legacy ones; None where there is no apt."""
    directory = packages.debian("node-tools", packages.NODE_PACKAGES)
    if directory and not (directory / "links").exists():
        links = directory / "links"
        links.mkdir()
        for name in LEGACY:
            (links / name).symlink_to("../usr/sbin/xtables-legacy-multi")
    return directory


def _environment():
    directory = _unpacked()
    if not directory:
        return dict(os.environ)
    path = [directory / "links", directory / "usr/sbin", directory / "usr/bin", os.environ["PATH"], "/usr/sbin", "/sbin"]
    (libraries,) = directory.glob("usr/lib/*-linux-gnu*")
    return {
        **os.environ,
        "PATH": ":".join(str(p) for p in path),
        "LD_LIBRARY_PATH": str(libraries),
        "XTABLES_LIBDIR": str(libraries / "xtables"),
    }


def _find(name):
    found = shutil.which(name, path=_environment()["PATH"])
    if not found:
        raise Failure(f"{name} is not on PATH and there is no apt to unpack it from: install it")
    return found


def _cni_directory():
    unpacked = _unpacked()
    places = [unpacked / "usr/lib/cni"] if unpacked else []
    places += [Path(p) for p in ("/opt/cni/bin", "/usr/libexec/cni", "/usr/lib/cni")]
    for place in places:
        if (place / "ptp").exists():
            return place
    raise Failure("there are no CNI plugins: install containernetworking-plugins")
