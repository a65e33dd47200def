"""One command at a time: a machine has room for one environment, and two builds slow each other down."""

import fcntl
import os
from contextlib import contextmanager

from .paths import TARGET
from .progress import Failure


@contextmanager
def held(command):
    TARGET.mkdir(parents=True, exist_ok=True)
    with open(TARGET / "lock", "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another command"
            raise Failure(f"{holder} is using target/dev; wait for it to end, or stop it.") from None
        file.truncate(0)
        file.write(f"make {command} (pid {os.getpid()})")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)
