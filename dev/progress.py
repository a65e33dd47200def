"""Lines that show what is running, and for how long."""

import subprocess
import sys
import threading
import time
from contextlib import contextmanager

HEARTBEAT_SECONDS = 15
START = time.monotonic()


class Failure(Exception):
    """Something that the user can act on; it is printed as a sentence, without a traceback."""


def say(text):
    elapsed = int(time.monotonic() - START)
    print(f"[{elapsed // 60:d}:{elapsed % 60:02d}] {text}", flush=True)


@contextmanager
def step(label):
    """Prints when a step starts and ends, and a line every HEARTBEAT_SECONDS in between."""
    began = time.monotonic()
    done = threading.Event()

    def beat():
        while not done.wait(HEARTBEAT_SECONDS):
            say(f"{label}: still running after {int(time.monotonic() - began)} s")

    say(f"{label} …")
    heart = threading.Thread(target=beat, daemon=True)
    heart.start()
    try:
        yield
    finally:
        done.set()
        heart.join()
    say(f"{label}: {time.monotonic() - began:.1f} s")


def run_logged(argv, log, **options):
    """Runs a long command with its output in a file; on failure, prints the end of the file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") as output:
        code = subprocess.run(
            [str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=output, stderr=output, **options
        ).returncode
    if code:
        sys.stderr.write("".join(log.read_text(errors="replace").splitlines(True)[-25:]))
        raise Failure(f"{argv[0]} ended with {code}; its output is in {log}")


def wait_for(what, check, seconds, interval=0.1):
    """Returns the first true value of check(); an OSError from it counts as not yet."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if value := check():
                return value
        except OSError:
            pass
        if time.monotonic() > deadline:
            raise Failure(f"waited {seconds} s in vain for {what}")
        time.sleep(interval)
