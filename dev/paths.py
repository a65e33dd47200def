"""Directories and files. Everything that the environment makes is below target/dev."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "target" / "dev"
TOOLS = TARGET / "tools"
RUN = TARGET / "run"  # the running environment; `down` deletes it
LOGS = TARGET / "logs"  # kept after `down`, for reading after a failure
ENV_FILE = TARGET / "env"
KUBECONFIG = TARGET / "kubeconfig"

# A node needs network namespaces, mounts and cgroups, which only root may create.
IS_ROOT = os.geteuid() == 0
IN_CI = os.environ.get("CI") == "true"
