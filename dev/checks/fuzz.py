"""Coverage-guided fuzzing of what strangers can send, for a fixed number of inputs.

A wrapper around the compiler instruments the product's own code alone, so that the libraries of other builds are reused.
"""

import os
import shutil
import subprocess
import sys

from ..paths import ROOT, TARGET
from ..progress import Failure, say

# cargo-fuzz sets the same flags; LLVM's page "SanitizerCoverage" documents them.
FLAGS = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
]
SEEDS = ROOT / "fuzz" / "seeds"
TARGETS = ("admission", "broker")
SHORT_RUN, LONG_RUN = 100_000, 5_000_000
LARGEST_INPUT = 16 * 1024


def run(targets=TARGETS):
    wrapper = TARGET / "fuzz-rustc"
    wrapper.parent.mkdir(parents=True, exist_ok=True)
    wrapper.write_text(f'#!/bin/sh\nexec "$@" {" ".join(FLAGS)}\n')
    wrapper.chmod(0o755)
    build = ["cargo", "build", "--locked", "--package", "fuzz"]
    if subprocess.run(build, cwd=ROOT, env={**os.environ, "RUSTC_WORKSPACE_WRAPPER": str(wrapper)}).returncode:
        raise Failure("the fuzz targets do not build")
    runs = LONG_RUN if os.environ.get("RECORDINGS_TEST_LONG") else SHORT_RUN
    for target in targets:
        _run(target, runs)


def _run(target, runs):
    corpus, found = TARGET / "fuzz" / target, TARGET / "fuzz" / f"{target}-found"
    shutil.rmtree(corpus, ignore_errors=True)
    for directory in (corpus, found):
        directory.mkdir(parents=True, exist_ok=True)
    argv = [ROOT / "target" / "debug" / target, corpus, SEEDS / target, f"-runs={runs}", "-seed=1", f"-max_len={LARGEST_INPUT}",
            "-timeout=10", "-rss_limit_mb=512", f"-artifact_prefix={found}/", "-print_final_stats=1", "-verbosity=0"]  # fmt: skip
    done = subprocess.run([str(a) for a in argv], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        sys.stderr.write(done.stderr[-4000:])
        raise Failure(f"{target}: an input crashed or stalled it; the input is in {found}")
    stats = dict(line.removeprefix("stat::").split(":", 1) for line in done.stderr.splitlines() if line.startswith("stat::"))
    executed, new = (int(stats[name]) for name in ("number_of_executed_units", "new_units_added"))
    # Without instrumentation no input is new, and nothing is explored.
    if executed < runs or not new:
        raise Failure(f"{target}: {executed} inputs, {new} of them new: the build is not instrumented")
    say(f"{target}: {executed} inputs, {new} of them with new coverage, {stats['peak_rss_mb'].strip()} MiB")


if __name__ == "__main__":
    try:
        run(sys.argv[1:] or TARGETS)
    except Failure as failure:
        sys.exit(f"fuzz: {failure}")
