"""etcd, kube-apiserver, kube-controller-manager and kube-scheduler: all of Kubernetes but the node."""

import json
import ssl
import urllib.request

from .. import process, tools
from ..paths import IS_ROOT, KUBECONFIG, RUN
from ..progress import wait_for
from . import pki, sandbox
from .forward import forward, free_port

AUDIT_LOG = RUN / "audit.log"
CONFIG = RUN / "config"
ADMIN = CONFIG / "admin.kubeconfig"
PREFERRED_PORT = 16443  # on the machine's loopback

# The log must not hold bodies that may contain an External ID, a platform key or a token.
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "nonResourceURLs": ["/healthz*", "/livez*", "/readyz*", "/openapi*", "/api*"]},
        {"level": "None", "resources": [{"group": "coordination.k8s.io"}]},
        {
            "level": "Metadata",
            "resources": [
                {"group": "", "resources": ["secrets", "configmaps", "serviceaccounts/token"]},
                {"group": "authentication.k8s.io"},
            ],
        },
        {"level": "Metadata", "verbs": ["get", "list", "watch"]},
        {"level": "RequestResponse"},
    ],
}


def start():
    """Starts what is not running yet and returns once the API server is ready."""
    pki.create()
    ports = _ports()
    _etcd(ports)
    _apiserver(ports)
    pki.write_kubeconfig(ADMIN, "admin", url())
    _controller_manager(url(), ports)
    if IS_ROOT:  # without a node there is nothing to schedule to
        _scheduler(url())
    outer_port = forward("apiserver", PREFERRED_PORT, ports["apiserver"])
    pki.write_kubeconfig(KUBECONFIG, "admin", f"https://127.0.0.1:{outer_port}")
    wait_for("a ready API server", lambda: ready(outer_port), 60)


def url():
    """The API server's URL in the cluster's network."""
    return f"https://{sandbox.NODE_IP}:{_ports()['apiserver']}"


def ready(port):
    for name in ("etcd", "kube-apiserver"):
        process.require(name)
    context = ssl.create_default_context(cafile=str(pki.PKI / "ca.crt"))
    context.load_cert_chain(pki.PKI / "admin.crt", pki.PKI / "admin.key")
    with urllib.request.urlopen(f"https://127.0.0.1:{port}/readyz", context=context, timeout=2) as answer:
        return answer.status == 200


def _ports():
    """Fixed ports in the network namespace; without root, free ports of the machine."""
    preferred = {"apiserver": 6443, "etcd": 2379, "etcd-peer": 2380, "controller-manager": 10257}
    file = RUN / "ports.json"
    if file.exists():
        return json.loads(file.read_text())
    ports = preferred if IS_ROOT else {name: free_port(port) for name, port in preferred.items()}
    file.write_text(json.dumps(ports))
    return ports


def _etcd(ports):
    client, peer = f"https://127.0.0.1:{ports['etcd']}", f"http://127.0.0.1:{ports['etcd-peer']}"
    process.start(
        "etcd",
        [
            tools.command("etcd"),
            f"--data-dir={RUN / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            f"--cert-file={pki.PKI / 'etcd.crt'}",
            f"--key-file={pki.PKI / 'etcd.key'}",
            f"--trusted-ca-file={pki.PKI / 'ca.crt'}",
            "--client-cert-auth",
            "--unsafe-no-fsync",  # nothing here outlives the machine
            "--log-level=warn",
        ],
        via=sandbox.network,
    )


def _apiserver(ports):
    policy = CONFIG / "audit-policy.json"
    policy.parent.mkdir(parents=True, exist_ok=True)
    policy.write_text(json.dumps(AUDIT_POLICY))
    # A loopback address cannot be an endpoint of the Service "kubernetes".
    advertise = [f"--advertise-address={sandbox.NODE_IP}"] if IS_ROOT else ["--endpoint-reconciler-type=none"]
    process.start(
        "kube-apiserver",
        [
            tools.command("kube-apiserver"),
            f"--bind-address={sandbox.NODE_IP}",
            f"--secure-port={ports['apiserver']}",
            *advertise,
            f"--etcd-servers=https://127.0.0.1:{ports['etcd']}",
            f"--etcd-cafile={pki.PKI / 'ca.crt'}",
            f"--etcd-certfile={pki.PKI / 'apiserver.crt'}",
            f"--etcd-keyfile={pki.PKI / 'apiserver.key'}",
            f"--client-ca-file={pki.PKI / 'ca.crt'}",
            f"--tls-cert-file={pki.PKI / 'apiserver.crt'}",
            f"--tls-private-key-file={pki.PKI / 'apiserver.key'}",
            f"--kubelet-certificate-authority={pki.PKI / 'ca.crt'}",
            f"--kubelet-client-certificate={pki.PKI / 'kubelet-client.crt'}",
            f"--kubelet-client-key={pki.PKI / 'kubelet-client.key'}",
            "--kubelet-preferred-address-types=InternalIP",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki.PKI / 'service-account.pub'}",
            f"--service-account-signing-key-file={pki.PKI / 'service-account.key'}",
            f"--service-cluster-ip-range={sandbox.SERVICE_RANGE}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            f"--audit-policy-file={policy}",
            f"--audit-log-path={AUDIT_LOG}",
        ],
        via=sandbox.network,
    )


def _controller_manager(server, ports):
    kubeconfig = pki.write_kubeconfig(CONFIG / "controller-manager.kubeconfig", "controller-manager", server)
    process.start(
        "kube-controller-manager",
        [
            tools.command("kube-controller-manager"),
            f"--kubeconfig={kubeconfig}",
            f"--root-ca-file={pki.PKI / 'ca.crt'}",
            f"--service-account-private-key-file={pki.PKI / 'service-account.key'}",
            "--use-service-account-credentials",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            f"--secure-port={ports['controller-manager']}",
            f"--cert-dir={RUN / 'controller-manager'}",
        ],
        via=sandbox.network,
    )


def _scheduler(server):
    kubeconfig = pki.write_kubeconfig(CONFIG / "scheduler.kubeconfig", "scheduler", server)
    process.start(
        "kube-scheduler",
        [
            tools.command("kube-scheduler"),
            f"--kubeconfig={kubeconfig}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
        ],
        via=sandbox.network,
    )
