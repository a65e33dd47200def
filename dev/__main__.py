"""The commands of the Makefile, and `cluster-up`, which leaves the operator out."""

import argparse
import os
import signal
import subprocess
import sys

from . import bench, demo, doctor, lock, suite
from .chart import readme
from .cluster import environment
from .paths import ENV_FILE, ROOT, TARGET
from .progress import Failure, say


def _doctor():
    doctor.check(quiet=False)


def _up():
    _announce(environment.up(with_operator=True))


def _cluster_up():
    _announce(environment.up(with_operator=False))


def _down():
    environment.down()
    if left := environment.left_behind():
        raise Failure("not removed: " + ", ".join(left))
    say("down: no process, mount, namespace, iptables rule or cgroup is left")


def _fmt():
    for argv in (["cargo", "fmt"], ["gofmt", "-w", "dev"]):
        subprocess.run(argv, cwd=ROOT, check=True)


def _generate():
    argv = ["cargo", "test", "--quiet", "--test", "generated", "--test", "formats"]
    subprocess.run(argv, cwd=ROOT, check=True, env={**os.environ, "UPDATE": "1"})
    readme.README.write_text(readme.render())


def _announce(values):
    print("\n".join(f"{name}={value}" for name, value in values.items()))
    say(f"also in {ENV_FILE}; kubectl and helm are in {TARGET / 'bin'}")


COMMANDS = {
    "doctor": _doctor,
    "up": _up,
    "cluster-up": _cluster_up,
    "down": _down,
    "demo": demo.run,
    "test": suite.run,
    "test-long": suite.run_long,
    "test-aws": suite.run_aws,
    "bench": bench.run,
    "fmt": _fmt,
    "generate": _generate,
}


def main():
    parser = argparse.ArgumentParser(prog="python3 -m dev", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    command = parser.parse_args().command
    # SIGTERM raises SystemExit, so that a terminated run still cleans up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        if command == "doctor":
            return _doctor()
        doctor.check(quiet=True)
        with lock.held(command):
            COMMANDS[command]()
    except Failure as failure:
        sys.exit(f"make {command}: {failure}")
    except KeyboardInterrupt:
        sys.exit(f"make {command}: interrupted")


if __name__ == "__main__":
    main()
