"""The nodes: containerd and kubelet on each; the first one's kube-proxy and DNS serve all, as they share a network."""

import json
import shutil
import subprocess

from .. import process, tools
from ..progress import wait_for
from . import control_plane, image, pki, sandbox
from .control_plane import CONFIG
from .node_programs import cni_directory, environment, find
from .sandbox import FIRST, NODE_IP

# Only pods that tolerate this taint are scheduled to a further node.
TAINT = {"key": f"{sandbox.NAME}/further", "effect": "NoSchedule"}

CONTAINERD_CONFIG = """\
version = 2
root = "{directory}/containerd"
state = "{directory}/containerd-state"
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
    conf_dir = "{directory}/config/cni"
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


def start():
    """Starts what is not running of the first node and returns once the node is Ready."""
    _start(FIRST)
    _kube_proxy()
    _coredns()
    _wait_ready(FIRST)
    for name in ("kube-proxy", "coredns"):
        process.require(name)


def join(node):
    """Starts a further node with the images of the first. A node that was lost comes back with its disk. Idempotent."""
    sandbox.add(node)
    _start(node)
    for record in sorted((FIRST.directory / "images").iterdir()):
        load(image.Image(image.IMAGES / record.name, record.read_text()), node)
    _wait_ready(node)


def lose(node):
    """Cuts a node's power: its processes and network end at once, without notice to anybody. Its disk stays."""
    if process.running(node.own("kubelet")):
        process.freeze(node.own("kubelet"))  # it could still report that its containers ended
    sandbox.cut(node)
    for name in (sandbox.HOLDER, "containerd", "kubelet"):
        process.stop(node.own(name))  # it has ended already; this removes its record
    shutil.rmtree(node.directory / "containerd-state", ignore_errors=True)
    _socket(node).unlink(missing_ok=True)


def load(built, node=FIRST):
    """Imports an image unless the node has its content already."""
    if not built:
        return
    record = node.directory / "images" / built.tarball.name
    if record.exists() and record.read_text() == built.tag:
        return
    subprocess.run(
        [find("ctr"), "--address", _socket(node), "--namespace", "k8s.io", "images", "import", built.tarball],
        check=True, stdout=subprocess.DEVNULL, env=environment(),
    )  # fmt: skip
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(built.tag)


def _start(node):
    (node.directory / "config" / "cni").mkdir(parents=True, exist_ok=True)
    _containerd(node)
    _kubelet(node)


def _socket(node):
    return node.directory / "containerd.sock"


def _containerd(node):
    config = node.directory / "config" / "containerd.toml"
    directory, socket = node.directory, _socket(node)
    config.write_text(
        CONTAINERD_CONFIG.format(directory=directory, socket=socket, runc=find("runc"), cni=cni_directory())
    )
    # Pods get routed veth pairs. With a bridge, Services between its pods would need a kernel module.
    network = {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(directory / "cni"),
                    "ranges": [[{"subnet": node.pod_range}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
    (directory / "config" / "cni" / "pods.conflist").write_text(json.dumps(network))
    name = node.own("containerd")
    process.start(name, [find("containerd"), f"--config={config}"], via=sandbox.inside(node), env=environment())
    wait_for(name, lambda: process.require(name) or socket.exists(), 20)


def _kubelet(node):
    directory = node.directory / "config"
    resolver, config = directory / "resolv.conf", directory / "kubelet.json"
    resolver.touch()
    kubeconfig = pki.write_kubeconfig(directory / "kubelet.kubeconfig", node.own("kubelet"), control_plane.url())
    settings = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": node.ip,
        "healthzBindAddress": node.ip,
        "authentication": {"x509": {"clientCAFile": str(pki.PKI / "ca.crt")}},
        "tlsCertFile": str(pki.PKI / f"{node.own('kubelet-server')}.crt"),
        "tlsPrivateKeyFile": str(pki.PKI / f"{node.own('kubelet-server')}.key"),
        "containerRuntimeEndpoint": f"unix://{_socket(node)}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{sandbox.NAME}/{node.part}".rstrip("/"),
        "registerWithTaints": [] if node == FIRST else [TAINT],
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "syncFrequency": "10s",  # tests wait for a changed Secret to reach its pods
        "oomScoreAdj": 0,
        # The kubelet's disk probe does not know every root device.
        "localStorageCapacityIsolation": False,
        # The disk belongs to the machine's user: when it fills, neither images nor pods are evicted.
        "evictionHard": {"memory.available": "100Mi"},
        "imageGCHighThresholdPercent": 100,
        "clusterDNS": [NODE_IP],
        "clusterDomain": "cluster.local",
        "resolvConf": str(resolver),
        "volumePluginDir": str(node.directory / "volume-plugins"),
    }
    config.write_text(json.dumps(settings, indent=2))
    process.start(
        node.own("kubelet"),
        [
            tools.command("kubelet"),
            f"--config={config}",
            f"--kubeconfig={kubeconfig}",
            f"--root-dir={node.directory / 'kubelet'}",
            f"--hostname-override={node.name}",
            f"--node-ip={node.ip}",
        ],
        via=sandbox.inside(node),
        env=environment(),
    )


def _kube_proxy():
    process.start(
        "kube-proxy",
        [
            tools.command("kube-proxy"),
            f"--kubeconfig={pki.write_kubeconfig(CONFIG / 'proxy.kubeconfig', 'proxy', control_plane.url())}",
            f"--hostname-override={FIRST.name}",
            "--proxy-mode=iptables",
            f"--cluster-cidr={FIRST.pod_range}",
            "--iptables-localhost-nodeports=false",
            "--oom-score-adj=0",
            # Connection tracking limits belong to the machine, not to the namespace.
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0",
            "--conntrack-tcp-timeout-close-wait=0",
        ],
        via=sandbox.inside(FIRST),
        env=environment(),
    )


def _coredns():
    kubeconfig = pki.write_kubeconfig(CONFIG / "coredns.kubeconfig", "coredns", control_plane.url())
    corefile = CONFIG / "Corefile"
    corefile.write_text(COREFILE.format(address=NODE_IP, kubeconfig=kubeconfig))
    process.start("coredns", [tools.command("coredns"), "-conf", corefile], via=sandbox.network)


def _wait_ready(node):
    def ready():
        for name in ("kubelet", "containerd"):
            process.require(node.own(name))
        answer = subprocess.run(
            [tools.command("kubectl"), f"--kubeconfig={control_plane.KUBECONFIG}", "get", "node", node.name,
             "-o", "jsonpath={.status.conditions[?(@.type=='Ready')].status}"],
            capture_output=True, text=True,
        )  # fmt: skip
        return answer.stdout == "True"

    wait_for(f"node {node.name} to be Ready", ready, 120, 0.3)
