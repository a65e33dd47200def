"""The steps of `make test` and `make test-long`: the first failure ends the run, and a table shows the minutes of each."""

import os
import secrets
import subprocess
import sys
import time
import uuid

from . import demo, packages, process, sdks, tools
from .aws import PLATFORM_CREDENTIALS
from .aws.accounts import Customer, PlatformCredentials
from .checks import capture, fuse, fuzz, mutants, rights, secret_scan
from .cluster import cert_manager, environment, operator, sandbox
from .paths import IN_CI, IS_ROOT, ROOT, RUN
from .progress import Failure, say


def run():
    _run(STEPS)


def run_long():
    """Runs the cluster tests with their whole tables, a spool on FUSE, and the mutants."""
    os.environ["RECORDINGS_TEST_LONG"] = "1"
    _run((*STEPS, ("spool on FUSE", fuse.run), ("mutants of the decisions", mutants.run)))


def run_aws():
    """Runs the tests that call AWS itself, in an account of the caller's."""
    needed = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "TEST_ROLE_ARN", "TEST_EXTERNAL_ID", "TEST_BUCKET", "TEST_REGION")
    if missing := [name for name in needed if not os.environ.get(name)]:
        raise Failure(f"this calls AWS itself, in accounts of yours: set {', '.join(missing)}; see tests/aws.rs")
    _nextest("--test", "aws")


def _run(steps):
    """Runs the steps. A cluster that was up before stays up; one that a step started is removed."""
    if IN_CI and not IS_ROOT:
        raise Failure("CI must run as root: without it the node's tests would be skipped")
    was_up = environment.running()
    table = []
    try:
        for name, step in steps:
            if IS_ROOT or step not in NEED_A_NODE:
                _timed(table, name, step)
        if not IS_ROOT:
            say("without root the tests that need a node were left out")
    finally:
        secret_scan.end_keeping_logs()
        process.stop(capture.NAME)
        if not was_up:
            _timed(table, "environment down", environment.down)
        _print(table)


def _format():
    _cargo("fmt", "--check")
    if unformatted := subprocess.run(["gofmt", "-l", "dev"], cwd=ROOT, capture_output=True, text=True).stdout:
        raise Failure(f"gofmt would change {unformatted.strip()}")


def _clippy():
    _cargo("clippy", "--all-targets", "--locked", "--", "-D", "warnings")


def _deny():
    _command(packages.rust_tool("cargo-deny"), "check", "bans", "licenses", "sources")


def _unit_tests():
    _nextest("--lib", "--bins", "--test", "house", "--test", "generated", "--test", "formats")


def _tests_of_dev():
    """The tests of dev itself: the stand-in, the customer's guide in it, the chart, the scan and the map."""
    _command(sys.executable, "-m", "unittest", "discover", "--start-directory", "dev", "--top-level-directory", ".")


def _environment_up():
    tools.link_commands()  # an older environment that is up may lack kstatus
    if IS_ROOT:
        sdks.clients()
        if "RECORDINGS_TEST_LONG" in os.environ:
            cert_manager.binary()
    environment.up(with_operator=True)
    if IS_ROOT:
        secret_scan.keep_logs()
        capture.begin()


def _cluster_tests():
    """Each test has its own namespace and mostly waits, so more of them run at a time than there are cores."""
    _in_cluster("not test(/^disruptive::/)", at_once=6)


def _disruptive_tests():
    _in_cluster("test(/^disruptive::/)", at_once=1)


def _in_cluster(which, at_once):
    _nextest("--no-fail-fast", "--test", "cluster", "-E", which, "--test-threads", str(at_once), env={**os.environ, **_environment()})


def _environment():
    return dict(line.split("=", 1) for line in environment.ENV_FILE.read_text().splitlines())


def _callers_demo():
    """Runs the demo with the cluster of `make up` as the caller's own."""
    os.environ |= {**_environment(), "CONTEXT": sandbox.NAME, "IMAGE": f"{operator.NAME}:dev"}
    try:
        demo.run()
    finally:
        del os.environ["CONTEXT"]


def _aws_tests_on_the_stand_in():
    """Runs the tests that are meant for AWS on the stand-in, so that they keep working."""
    endpoint = _environment()["AWS_ENDPOINT_URL"]
    key = PlatformCredentials.read(RUN / PLATFORM_CREDENTIALS)
    customer = Customer(endpoint, f"{secrets.randbelow(10**12):012}")
    bucket, external_id = f"test-aws-{secrets.token_hex(8)}", str(uuid.uuid4())
    customer.set_up(bucket, external_id)
    settings = {
        "AWS_ACCESS_KEY_ID": key.accessKeyID, "AWS_SECRET_ACCESS_KEY": key.secretAccessKey,
        "AWS_ENDPOINT_URL": endpoint, "TEST_ROLE_ARN": customer.role_arn(), "TEST_EXTERNAL_ID": external_id,
        "TEST_BUCKET": bucket, "TEST_REGION": customer.region,
    }  # fmt: skip
    _nextest("--test", "aws", env={**os.environ, **settings})


STEPS = (
    ("format", _format),
    ("clippy", _clippy),
    ("licences, bans, sources", _deny),
    ("unit tests", _unit_tests),
    ("fuzzing", fuzz.run),
    ("tests of dev, the guide among them", _tests_of_dev),
    ("static release build", operator.build),
    ("environment up", _environment_up),
    ("cluster tests", _cluster_tests),
    ("the tests for AWS, on the stand-in", _aws_tests_on_the_stand_in),
    ("demo in a caller's cluster", _callers_demo),
    ("disruptive tests", _disruptive_tests),
    ("RBAC rights", rights.check),
    ("secret scan", secret_scan.run),
)


NEED_A_NODE = (_cluster_tests, _aws_tests_on_the_stand_in, _callers_demo, _disruptive_tests, rights.check, secret_scan.run)


def _timed(table, name, step):
    say(f"== {name}")
    began = time.monotonic()
    result = "FAILED"
    try:
        step()
        result = "ok"
    finally:
        table.append((name, (time.monotonic() - began) / 60, result))


def _print(table):
    print(f"\n{'step':<32}{'minutes':>8}  result")
    for name, minutes, result in table:
        print(f"{name:<32}{minutes:>8.1f}  {result}")
    print(f"{'all':<32}{sum(row[1] for row in table):>8.1f}", flush=True)


def _nextest(*arguments, env=None):
    _command(packages.rust_tool("cargo-nextest"), "nextest", "run", "--locked", *arguments, env=env)


def _cargo(*arguments):
    _command("cargo", *arguments)


def _command(*argv, env=None):
    if subprocess.run(argv, cwd=ROOT, env=env, stdin=subprocess.DEVNULL).returncode:
        raise Failure(f"{' '.join(str(a) for a in argv)} failed")
