"""Runs cargo-mutants on the rooms of `domain` that judge AWS's responses and who owns a claim.

A mutant is a small change of the code that some test must notice. The rooms use nothing but `api` and `secret`, so they
are built as a package of their own: a mutant takes seconds instead of the minute that the whole crate takes.
mutants.txt lists the accepted survivors, each with the reason why no test can or need notice it.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from .. import tools
from ..paths import LOGS, ROOT
from ..progress import Failure, run_logged, say, step

VERSION = "27.1.0"
ROOMS = ("ownership", "trust", "verdict")
PACKAGE = ROOT / "target" / "mutants"
RESULT = PACKAGE / "mutants.out"
EXPLAINED = Path(__file__).with_name("mutants.txt")
DEPENDENCIES = (
    "base64", "crc-fast", "jiff", "k8s-openapi", "kube", "proptest", "schemars", "secrecy", "serde", "serde_json", "strum",
    "thiserror",
)  # fmt: skip
FEATURES = {"kube": ["cel", "derive"]}  # these rooms use nothing of the client
SECONDS_A_MUTANT = 60


def run(rooms=ROOMS):
    _make_package()
    files = [argument for room in rooms for argument in ("--file", f"src/domain/{room}/**")]
    with step(f"mutants of {', '.join(rooms)}"):
        # Its exit status says whether mutants survived; mutants.txt says which ones may.
        subprocess.run(
            [_cargo_mutants(), "mutants", "--in-place", "--colors", "never", "--timeout", str(SECONDS_A_MUTANT),
             "--output", PACKAGE, *files],
            cwd=PACKAGE, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    outcomes = _outcomes()
    survivors = outcomes["MissedMutant"]
    explained = _explained()
    new = [name for name in survivors if not any(pattern.search(name) for pattern in explained)]
    of_rooms = [pattern for pattern in explained if any(f"domain/{room}/" in pattern.pattern for room in rooms)]
    gone = [pattern.pattern for pattern in of_rooms if not any(pattern.search(name) for name in survivors)]
    caught = len(outcomes["CaughtMutant"] + outcomes["Timeout"])
    say(f"{caught} mutants were caught, {len(outcomes['Unviable'])} do not compile, {len(survivors)} survived")
    if new or gone:
        lines = [f"  survived, and {EXPLAINED.name} does not explain it: {name}" for name in new]
        lines += [f"  is in {EXPLAINED.name} and did not survive: {pattern}" for pattern in gone]
        raise Failure("the survivors are not those that are explained:\n" + "\n".join(lines))


def _make_package():
    """Copies the sources again and keeps the build directory."""
    for path in (PACKAGE / "src", RESULT):
        shutil.rmtree(path, ignore_errors=True)
    source = PACKAGE / "src"
    for room in ROOMS:
        shutil.copytree(ROOT / "src/domain" / room, source / "domain" / room)
    shutil.copytree(ROOT / "src/api", source / "api")
    shutil.copy(ROOT / "src/secret.rs", source)
    rooms = " ".join(f"pub mod {room};" for room in ROOMS)
    (source / "lib.rs").write_text(f"pub mod api;\npub mod secret;\npub mod domain {{ {rooms} }}\n")
    (PACKAGE / "Cargo.toml").write_text(_manifest())
    shutil.copy(ROOT / "Cargo.lock", PACKAGE)  # keeps the versions; cargo drops unused packages


def _manifest():
    metadata = ["cargo", "metadata", "--no-deps", "--format-version=1", "--locked"]
    (ours,) = json.loads(subprocess.run(metadata, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)["packages"]
    package = {key: ours[key] for key in ("name", "version", "edition")}
    lines = ["[workspace]", "[package]", *(f"{key} = {json.dumps(value)}" for key, value in package.items())]
    lines += ["[profile.dev]", "debug = false", "[dependencies]"]
    for dependency in ours["dependencies"]:
        if (name := dependency["name"]) in DEPENDENCIES and dependency["kind"] != "build":
            features = json.dumps(FEATURES.get(name, dependency["features"]))
            default = json.dumps(dependency["uses_default_features"])
            version = json.dumps(dependency["req"])
            lines.append(f"{name} = {{ version = {version}, default-features = {default}, features = {features} }}")
    return "\n".join(lines) + "\n"


def _outcomes():
    outcomes = {"CaughtMutant": [], "MissedMutant": [], "Timeout": [], "Unviable": []}
    report = RESULT / "outcomes.json"
    if not report.exists():
        raise Failure(f"cargo-mutants did not finish; see {RESULT}")
    for outcome in json.loads(report.read_text())["outcomes"]:
        if outcome["scenario"] == "Baseline":
            if outcome["summary"] != "Success":
                raise Failure(f"the rooms' tests fail without any mutant; see {RESULT / 'log'}")
        else:
            # Line and column are removed, because they change with every edit.
            name = re.sub(r":\d+:\d+", "", outcome["scenario"]["Mutant"]["name"])
            outcomes[outcome["summary"]].append(name)
    return outcomes


def _explained():
    """Each line is a regular expression; the comment above it is the reason."""
    lines = (line.strip() for line in EXPLAINED.read_text().splitlines())
    return [re.compile(line) for line in lines if line and not line.startswith("#")]


def _cargo_mutants():
    def install(directory):
        say("a few minutes the first time")
        run_logged(
            ["cargo", "install", "--quiet", "--locked", "--root", directory, "--target-dir", directory / "target",
             f"cargo-mutants@{VERSION}"],
            LOGS / "install-cargo-mutants.log",
            cwd=ROOT,
        )  # fmt: skip
        shutil.rmtree(directory / "target")

    rustc = subprocess.run(["rustc", "--version"], check=True, capture_output=True, text=True, cwd=ROOT).stdout
    return tools.cached("cargo-mutants", [VERSION, rustc], install) / "bin" / "cargo-mutants"


if __name__ == "__main__":
    try:
        run(sys.argv[1:] or ROOMS)
    except Failure as failure:
        sys.exit(f"mutants: {failure}")
