"""Builds the product, lays out its image and installs its chart, as a platform engineer does."""

import json
import os
import platform
import subprocess
import time

from .. import tools
from ..aws import PLATFORM_CREDENTIALS
from ..aws.accounts import CONTROL_ROLE_ARN, PLATFORM_PRINCIPAL_ARN
from ..chart import NAME
from ..paths import IS_ROOT, KUBECONFIG, ROOT, RUN
from ..progress import Failure, say, step
from . import image, node
from .kube import Kube

SECRET = f"{NAME}-aws"
PLUGIN = "kubectl-recordings"
UPLOADER = "recording-uploader"
BINARIES = ("recording-operator", UPLOADER)
USER = "65532:65532"
ADMITTED_SECONDS = 60
# Relocations are read at every start; packing them saves 1.5 MiB of memory in each sidecar.
STATIC = "-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs"
TARGET_TRIPLE = f"{platform.machine()}-unknown-linux-gnu"
RELEASE = ROOT / "target" / TARGET_TRIPLE / "release"


def build():
    """Builds static binaries, so that the image holds nothing else. Tests and the demo use the same ones."""
    _cargo_build("--bins")
    # kubectl asks the second name for completions.
    for name in (PLUGIN, "kubectl_complete-recordings"):
        tools.link_command(RELEASE / PLUGIN, name)
    tools.link_command(RELEASE / UPLOADER)


def build_healthz():
    """Builds the operator's HTTPS server with nothing behind it but /healthz, which the bench compares it with."""
    _cargo_build("--package", "healthz")


def _cargo_build(*what):
    with step("cargo build --release"):
        result = subprocess.run(
            ["cargo", "build", "--release", "--locked", *what, "--target", TARGET_TRIPLE],
            cwd=ROOT,
            env={**os.environ, "RUSTFLAGS": STATIC},
        )
    if result.returncode:
        raise Failure("the product does not build")


def install(endpoint, endpoint_ca):
    """Builds, loads the image and installs the chart, or upgrades to what changed."""
    build()
    if not IS_ROOT:
        say(f"without a node the operator is not installed; its binaries are in {RELEASE}")
        return
    built = image.build(NAME, {binary: RELEASE / binary for binary in BINARIES}, {"User": USER})
    node.load(built)
    kube = Kube(KUBECONFIG)
    credentials = json.loads((RUN / PLATFORM_CREDENTIALS).read_text())
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET, "namespace": NAME},
        "stringData": {key: credentials[key] for key in ("accessKeyID", "secretAccessKey")},
    }
    restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAME, "labels": restricted}}
    for manifest in (namespace, secret):
        kube.must("apply", "--filename", "-", given=json.dumps(manifest))
    ours = {
        "aws.endpointCABundle": endpoint_ca,
        "logLevel": "trace",  # the secret scan reads all that can be logged
        "platform.controlRoleARN": CONTROL_ROLE_ARN,
    }
    install_chart(kube, f"{NAME}:{built.tag}", "Never", endpoint, ours)


def install_chart(kube, image_name, pull_policy, endpoint, more=None):
    """Installs or upgrades the chart. The Secret with the platform's key must exist."""
    if kube.run("get", "secret", SECRET, "--namespace", NAME).returncode:
        raise Failure(
            f"Secret {SECRET} is missing: kubectl create secret generic {SECRET} --namespace {NAME} "
            "--from-literal=accessKeyID=… --from-literal=secretAccessKey=…"
        )
    repository, _, tag = image_name.rpartition(":")
    values = {
        "image.repository": repository,
        "image.tag": tag,
        "image.pullPolicy": pull_policy,
        "aws.endpointURL": endpoint,
        "platform.principalARN": PLATFORM_PRINCIPAL_ARN,
        **(more or {}),
    }
    settings = [argument for pair in values.items() for argument in ("--set-string", "=".join(pair))]
    with step("installing the chart"):
        kube.helm("upgrade", "--install", NAME, str(ROOT / "charts" / NAME), "--namespace", NAME, *settings,
                  "--wait", "--timeout", "2m")  # fmt: skip
    # There is no tenant yet. The webhook's own refusal proves as well that the API server reaches it.
    wait_until_admitted(kube, "default", or_refused_with="does not exist in namespace")


def wait_until_admitted(kube, namespace, or_refused_with=None):
    """Repeats a server-side dry run of a labelled pod: for a moment the API server does not reach webhook pods that are Ready."""
    recorder = (ROOT / "examples" / "recorder.yaml").read_text()
    deadline = time.monotonic() + ADMITTED_SECONDS
    with step("waiting until a labelled pod is admitted"):
        while True:
            dry = kube.run("create", "--dry-run=server", "--namespace", namespace, "--filename", "-", given=recorder)
            said = dry.stdout.decode(errors="replace").strip()
            if dry.returncode == 0 or (or_refused_with and or_refused_with in said):
                return
            if time.monotonic() > deadline:
                raise Failure(f"no labelled pod is admitted within {ADMITTED_SECONDS} s: {said}")
            time.sleep(0.5)
