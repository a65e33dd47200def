"""Pinned tools below target/dev/tools, each in a directory named by the hash of its sources."""

import hashlib
import json
import os
import platform
import shutil
import subprocess
from pathlib import Path

from .paths import LOGS, ROOT, TARGET, TOOLS
from .progress import run_logged, say, step

HERE = Path(__file__).resolve().parent
PINS = json.loads((HERE / "pins.json").read_text())


def cached(name, inputs, make):
    """The directory that make(directory) filled; made again only when inputs (any JSON value) change."""
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:12]
    final = TOOLS / f"{name}-{digest}"
    if final.exists():
        return final
    partial = TOOLS / f"{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with step(f"making {name}"):
        make(partial)
    for old in TOOLS.glob(f"{name}-" + "[0-9a-f]" * 12):
        shutil.rmtree(old)
    partial.rename(final)
    return final


def kubernetes():
    """The directory of kubectl, helm, coredns, etcd and the parts of Kubernetes, built from the Go module k8s."""
    pin = PINS["kubernetes"]
    flags = "-s -w " + " ".join(f"-X {key}={value}" for key, value in pin["set"].items())

    def build(directory):
        go_build("k8s", directory, flags, pin["packages"])
        for name in pin["parts"]:
            (directory / name).symlink_to("kube")

    return cached("kubernetes", [pin, go_sources("k8s"), output("go", "version")], build)


def kstatus():
    """The path of the command that computes a resource's status as GitOps tools do."""
    return go_command("kstatus")


def go_command(module):
    """The path of the command that a Go module below dev/ builds."""
    name = Path(module).name

    def build(directory):
        go_build(module, directory, "-s -w", ["."])

    return cached(name, [go_sources(module), output("go", "version")], build) / name


def go_module(name, pin):
    """The directory of a Go module's source, checked against the pinned hash, or against go.sum of our module `within`."""
    what = f"{name}@{pin['version']}" if "version" in pin else name
    cwd = HERE / pin["within"] if "within" in pin else ROOT
    argv = ["go", "mod", "download", "-json", what]
    done = subprocess.run(argv, cwd=cwd, check=True, capture_output=True, env={**os.environ, "GOTOOLCHAIN": "local"})
    module = json.loads(done.stdout)
    if pin.get("sum", module["Sum"]) != module["Sum"]:
        raise ValueError(f"{what} has the hash {module['Sum']}, which is not the one in dev/pins.json")
    return Path(module["Dir"])


def pause():
    """The path of the static binary that holds a pod's namespaces."""
    return c_program("cluster/pause.c")


def c_program(source):
    """The path of the static binary that is built from a C file below dev/."""
    source = HERE / source

    def build(directory):
        subprocess.run(["cc", "-Os", "-static", "-o", directory / source.stem, source], check=True)

    return cached(source.stem, [source.read_text(), platform.machine()], build) / source.stem


def rust_program(package):
    """The path of the release binary of a Rust package below dev/ that is outside of the product's workspace."""
    directory, target = HERE / package, TARGET / Path(package).name
    log = LOGS / f"build-{Path(package).name}.log"
    with step(f"building {package}"):
        say(f"minutes the first time; the compiler's output is in {log}")
        run_logged(["cargo", "build", "--release", "--locked", "--target-dir", target], log, cwd=directory)
    return target / "release" / directory.name


def command(name):
    """The path of one of the commands that kubernetes() builds."""
    return kubernetes() / name


def link_commands():
    """Fills target/dev/bin, which belongs on the PATH of an ordinary shell."""
    directory = TARGET / "bin"
    directory.mkdir(parents=True, exist_ok=True)
    for path in (command("kubectl"), command("helm"), kstatus()):
        link_command(path)
    return directory


def link_command(path, name=None):
    """Puts a command into target/dev/bin, under another name where one is given."""
    link = TARGET / "bin" / (name or path.name)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(path)


def go_sources(module):
    directory = HERE / module
    return {str(f.relative_to(directory)): f.read_text() for f in sorted(directory.rglob("*")) if f.is_file()}


def go_build(module, directory, flags, packages):
    log = LOGS / f"build-{Path(module).name}.log"
    say(f"minutes the first time; the compiler's output is in {log}")
    run_logged(
        ["go", "build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", f"{directory}/", *packages],
        log,
        cwd=HERE / module,
        env={**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly", "GOWORK": "off"},
    )


def output(*argv):
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout
