"""The product: one static release build, its image, and the chart's installation, as a platform engineer does it."""

import json
import os
import platform
import subprocess

from . import image, node, tools
from .aws import PLATFORM_CREDENTIALS
from .aws.accounts import PLATFORM_PRINCIPAL_ARN
from .paths import IS_ROOT, KUBECONFIG, ROOT, RUN
from .progress import Failure, say, step

NAME = "recording-operator"
BINARIES = ("recording-operator", "recording-uploader")
TARGET_TRIPLE = f"{platform.machine()}-unknown-linux-gnu"
RELEASE = ROOT / "target" / TARGET_TRIPLE / "release"


def build():
    """The binaries are static, so that the image holds nothing else; tests and the demo use the same ones."""
    with step("cargo build --release"):
        result = subprocess.run(
            ["cargo", "build", "--release", "--locked", "--bins", "--target", TARGET_TRIPLE],
            cwd=ROOT,
            env={**os.environ, "RUSTFLAGS": "-C target-feature=+crt-static"},
        )
    if result.returncode:
        raise Failure("the product does not build")


def install(endpoint):
    """Builds, loads the image and installs the chart, or upgrades to what changed."""
    build()
    if not IS_ROOT:
        say(f"without a node the operator is not installed; its binaries are in {RELEASE}")
        return
    built = image.build(NAME, {binary: RELEASE / binary for binary in BINARIES}, {"User": "65532:65532"})
    node.load(built)
    credentials = json.loads((RUN / PLATFORM_CREDENTIALS).read_text())
    with step("installing the chart"):
        _apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAME}})
        _apply(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": f"{NAME}-aws", "namespace": NAME},
                "stringData": {key: credentials[key] for key in ("accessKeyID", "secretAccessKey")},
            }
        )
        values = {
            "image.repository": NAME,
            "image.tag": built.tag,
            "image.pullPolicy": "Never",
            "aws.endpointURL": endpoint,
            "platform.principalARN": PLATFORM_PRINCIPAL_ARN,
        }
        settings = [argument for pair in values.items() for argument in ("--set-string", "=".join(pair))]
        _run("helm", "upgrade", "--install", NAME, ROOT / "charts" / NAME, "--namespace", NAME, *settings,
             "--wait", "--timeout", "2m")  # fmt: skip


def _apply(manifest):
    _run("kubectl", "apply", "--filename", "-", given=json.dumps(manifest))


def _run(command, *arguments, given=None):
    argv = [tools.command(command), "--kubeconfig", KUBECONFIG, *arguments]
    result = subprocess.run(argv, input=given, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if result.returncode:
        raise Failure(f"{command} {arguments[0]} failed: {result.stdout.strip()}")
