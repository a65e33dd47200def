"""The cluster's certificates, and the kubeconfig of each of its clients."""

import base64
import json
import subprocess

from .. import tools
from ..paths import RUN
from .sandbox import NAME, NODE_IP, NODES

PKI = RUN / "pki"
SERVICE_IP = "10.96.0.1"
# SERVICE.NAMESPACE by which pods find the stand-in in the cluster's DNS, so that a test can take the DNS away.
AWS_NAME = "aws.stand-in"
# NodeRestriction and RBAC expect these names.
CLIENTS = {
    "admin": ("admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", None),
    "scheduler": ("system:kube-scheduler", None),
    "proxy": ("system:kube-proxy", None),
    "coredns": ("system:coredns", None),
    "kubelet-client": ("kube-apiserver-kubelet-client", None),
    **{node.own("kubelet"): (f"system:node:{node.name}", "system:nodes") for node in NODES},
}
SERVERS = {
    "etcd": ["127.0.0.1", NODE_IP],
    "apiserver": [
        "127.0.0.1", "localhost", NODE_IP, SERVICE_IP,
        "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
    ],
    **{node.own("kubelet-server"): [node.name, node.ip] for node in NODES},
    "aws": [AWS_NAME, f"{AWS_NAME}.svc", f"{AWS_NAME}.svc.cluster.local", "localhost", "127.0.0.1", NODE_IP],
}  # fmt: skip


def create():
    if (PKI / "service-account.pub").exists():
        return
    wanted = [
        {"name": name, "commonName": common_name, "organization": [group] if group else []}
        for name, (common_name, group) in CLIENTS.items()
    ]
    wanted += [{"name": name, "commonName": name, "hosts": hosts} for name, hosts in SERVERS.items()]
    subprocess.run([tools.command("devpki"), PKI, json.dumps(wanted)], check=True)


def write_kubeconfig(file, client, server):
    """Writes a kubeconfig that embeds its credentials, so that it can be copied. It is JSON, which is YAML."""
    name = NAME
    user = {"client-certificate-data": _base64(f"{client}.crt"), "client-key-data": _base64(f"{client}.key")}
    cluster = {"server": server, "certificate-authority-data": _base64("ca.crt")}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": client, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": client}}],
        "current-context": name,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(0o600)
    file.write_text(json.dumps(config, indent=2))
    return file


def _base64(name):
    return base64.b64encode((PKI / name).read_bytes()).decode()
