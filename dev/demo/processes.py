"""The demo without root: there is no node, so what would run in pods runs as processes.

The control plane, the pod object, its injection and its bound token are real; nothing schedules the pod. The node, the
sidecar's container, and the chart's Deployments and admission policies are left out.
"""

import base64
import json
import subprocess

from .. import process, tools
from ..aws import PLATFORM_CREDENTIALS
from ..aws.accounts import Customer
from ..cluster import environment, operator, sandbox
from ..cluster.forward import free_port, free_ports
from ..cluster.kube import Kube
from ..paths import KUBECONFIG, ROOT, RUN
from ..progress import say, step, wait_for
from . import story
from .story import NAMESPACE, title

OPERATOR = ("controller", "webhook", "broker")


def run():
    say("without root, the demo leaves out the node, the sidecar's container, and the chart's Deployments and policies")
    values = environment.up(with_operator=False)
    operator.build()
    kube = Kube(KUBECONFIG)
    endpoint = values["AWS_ENDPOINT_URL"]
    _start_operator(kube, endpoint)
    story.tell(kube, Customer(endpoint, story.ACCOUNT), Process(kube))


def _start_operator(kube, endpoint):
    """Starts controller, webhook and broker, each with its own ServiceAccount."""
    with step("starting the operator's processes"):
        kube.run("create", "namespace", operator.NAME)
        kube.must("apply", "--filename", "-", given=_rights_and_resource())
        # The controller maintains the configuration of this name. The processes are not behind Services, so the webhook that
        # calls them is in a second one.
        kube.must("apply", "--filename", "-", given=json.dumps(_webhook(operator.NAME, [])))
        tls, keys = _tls(), _platform_key()
        ports = dict(zip(("webhook", "broker"), free_ports([18443, 18444])))
        health = dict(zip(OPERATOR, free_ports([18080, 18081, 18082])))
        broker = f"https://127.0.0.1:{ports['broker']}"
        aws = [f"--aws-endpoint-url={endpoint}", f"--platform-key-dir={keys}"]
        arguments = {
            "controller": [*aws, f"--platform-principal-arn={environment.PLATFORM_PRINCIPAL_ARN}",
                           f"--webhook-service={operator.NAME}-webhook", f"--broker-service={operator.NAME}-broker",
                           f"--mutating-webhook-configuration={operator.NAME}", f"--certificates-namespace={operator.NAME}"],
            "webhook": [f"--listen=127.0.0.1:{ports['webhook']}", f"--tls-dir={tls}", f"--broker-url={broker}",
                        "--uploader-image=recording-operator:dev"],
            "broker": [f"--listen=127.0.0.1:{ports['broker']}", f"--tls-dir={tls}", *aws],
        }  # fmt: skip
        for name in OPERATOR:
            process.stop(f"operator-{name}")
            listen = f"--metrics-listen=127.0.0.1:{health[name]}"
            argv = [operator.RELEASE / operator.NAME, name, listen, *arguments[name]]
            process.start(f"operator-{name}", argv, via=sandbox.outside, env={
                "KUBECONFIG": str(_kubeconfig(kube, name)),
            })  # fmt: skip
        kube.must("apply", "--filename", "-", given=json.dumps(_webhook("processes", [_hook(ports["webhook"], tls)])))


def _rights_and_resource():
    """The chart's ServiceAccounts, rights, CRD and status policy, without its pods."""
    argv = [tools.command("helm"), "template", operator.NAME, ROOT / "charts" / operator.NAME, "--namespace", operator.NAME,
            f"--set=platform.principalARN={environment.PLATFORM_PRINCIPAL_ARN}"]  # fmt: skip
    rendered = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split("\n---\n")
    wanted = ("/rbac.yaml", "/crds.yaml", "/policy-status.yaml", "kind: ServiceAccount\n")
    return "\n---\n".join(document for document in rendered if any(mark in document for mark in wanted))


def _kubeconfig(kube, component):
    """The administrator's kubeconfig, with the component's token in place of the certificate."""
    account = f"{operator.NAME}-{component}"
    token = kube.must("create", "token", account, "--namespace", operator.NAME, "--duration=1h").strip()
    config = json.loads(KUBECONFIG.read_text())
    config["users"][0]["user"] = {"token": token}
    return _private(RUN / "operator" / f"{component}.kubeconfig", json.dumps(config))


def _tls():
    """Makes a certificate for the loopback address; the controller would make one for the Services."""
    directory = RUN / "operator" / "tls"
    directory.mkdir(parents=True, exist_ok=True)
    wanted = [{"name": "tls", "commonName": "tls", "hosts": ["127.0.0.1", "localhost"]}]
    subprocess.run([tools.command("devpki"), directory, json.dumps(wanted)], check=True)
    return directory


def _platform_key():
    directory = RUN / "operator" / "aws"
    credentials = json.loads((RUN / PLATFORM_CREDENTIALS).read_text())
    for name in ("accessKeyID", "secretAccessKey"):
        _private(directory / name, credentials[name])
    return directory


def _private(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(0o600)
    file.write_text(text)
    return file


def _webhook(name, hooks):
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": hooks,
    }


def _hook(port, tls):
    ca = base64.b64encode((tls / "ca.crt").read_bytes()).decode()
    return {
        "name": "inject.recordings.revenue.io",
        "clientConfig": {"url": f"https://127.0.0.1:{port}/inject", "caBundle": ca},
        "objectSelector": {"matchLabels": {"recordings.revenue.io/inject": "true"}},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "failurePolicy": "Fail",
    }


class Process:
    """A pod that no node runs, and its sidecar as a process with the environment that the webhook injected."""

    def __init__(self, kube):
        self._kube = kube
        self._home = RUN / "uploader"
        self._spool = self._home / "spool"

    def start(self):
        title("A recorder pod gets its upload sidecar, which runs as a process here")
        manifest = (ROOT / "dev" / "demo" / "recorder.yaml").read_text()
        apply = ("apply", "--namespace", NAMESPACE, "--filename", "-")
        wait_for("the webhook", lambda: self._kube.run(*apply, given=manifest).returncode == 0, 30)
        pod = json.loads(self._kube.must("get", "pod", "recorder", "--namespace", NAMESPACE, "--output=json"))
        sidecar = pod["spec"]["initContainers"][0]
        print(f"injected: {sidecar['name']}, restartPolicy {sidecar['restartPolicy']}, command {sidecar['command']}")
        token = self._kube.must(
            "create", "token", "default", "--namespace", NAMESPACE, "--audience=recordings.revenue.io",
            "--bound-object-kind=Pod", "--bound-object-name=recorder",
        )  # fmt: skip
        self._spool.mkdir(parents=True, exist_ok=True)
        arguments = [
            operator.RELEASE / "recording-uploader",
            f"--spool={self._spool}",
            f"--token-file={_private(self._home / 'token', token.strip())}",
            f"--state-dir={self._home}",
            f"--listen=127.0.0.1:{free_port(19095)}",
        ]
        env = {variable["name"]: variable["value"] for variable in sidecar["env"]}
        process.start("uploader", arguments, via=sandbox.outside, env=env)

    def record(self, name, content):
        part = self._spool / f"{name}.part"
        part.write_bytes(content)
        part.rename(self._spool / name)

    def show_spool(self):
        print("\n".join(sorted(file.name for file in self._spool.iterdir() if file.is_file())))

    def stop(self):
        process.stop("uploader")
