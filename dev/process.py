"""Long-running processes: started in the background, found again by a later command, stopped by pid.

The kernel may have given a pid to another process since, so the process's start time is kept with it.

    python3 -m dev.process freeze coredns      (it no longer answers; connections stay open)
    python3 -m dev.process thaw coredns
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time

from .paths import LOGS, ROOT, RUN
from .progress import Failure

PIDS = RUN / "pids"
STOP_SECONDS = 10


def start(name, argv, *, via, env=None, pass_fds=()):
    """Starts a process unless it runs already; its output goes to target/dev/logs/NAME.log.

    via: what makes the command line for where it runs: sandbox.outside, sandbox.network or sandbox.inside(node).
    """
    if running(name):
        return
    PIDS.mkdir(parents=True, exist_ok=True)
    LOGS.mkdir(parents=True, exist_ok=True)
    with open(LOGS / f"{name}.log", "wb") as log:
        child = subprocess.Popen(
            via([str(a) for a in argv]),
            cwd=RUN,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # not ended by the Ctrl-C meant for us
            pass_fds=pass_fds,
        )
    record = {"pid": child.pid, "start": start_time(child.pid), "command": str(argv[0])}
    (PIDS / f"{name}.json").write_text(json.dumps(record))


def running(name):
    """The pid of the process that start() recorded by this name, or None."""
    try:
        record = json.loads((PIDS / f"{name}.json").read_text())
    except (OSError, ValueError):
        return None
    return record["pid"] if record["start"] and start_time(record["pid"]) == record["start"] else None


def names():
    return sorted(file.stem for file in PIDS.glob("*.json"))


def stop(name):
    """Sends SIGTERM, and SIGKILL after STOP_SECONDS. Returns once the process has ended."""
    if pid := running(name):
        _signal(pid, signal.SIGTERM)
        _signal(pid, signal.SIGCONT)  # a test may have left it frozen
        if not _gone(name, STOP_SECONDS):
            _signal(pid, signal.SIGKILL)
            _gone(name, STOP_SECONDS)
    (PIDS / f"{name}.json").unlink(missing_ok=True)


def freeze(name):
    """Stops a process without ending it: to others it looks hung, or cut off."""
    _signal(_must_run(name), signal.SIGSTOP)


def thaw(name):
    _signal(_must_run(name), signal.SIGCONT)


def require(name):
    """Fails with the end of the process's log when the process has ended."""
    if not running(name):
        log = LOGS / f"{name}.log"
        tail = "".join(log.read_text(errors="replace").splitlines(True)[-8:]) if log.exists() else ""
        raise Failure(f"{name} ended; the end of {log}:\n{tail}")


def start_time(pid):
    """When a process started, in clock ticks since boot; None when it has ended."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def _must_run(name):
    if not (pid := running(name)):
        raise Failure(f"no process {name} of ours is running; there are: {', '.join(names())}")
    return pid


def _signal(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _gone(name, seconds):
    deadline = time.monotonic() + seconds
    while running(name):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _main():
    parser = argparse.ArgumentParser(prog="python3 -m dev.process", description="Freezes and thaws processes, for tests.")
    parser.add_argument("command", choices=("freeze", "thaw"))
    parser.add_argument("name")
    arguments = parser.parse_args()
    try:
        {"freeze": freeze, "thaw": thaw}[arguments.command](arguments.name)
    except Failure as failure:
        sys.exit(str(failure))


if __name__ == "__main__":
    _main()
