"""kubectl against one cluster: silent, required to succeed, or shown to the reader."""

import subprocess

from . import tools
from .progress import Failure


class Kube:
    def __init__(self, kubeconfig=None, context=None):
        self._argv = [str(tools.command("kubectl"))]
        if kubeconfig:
            self._argv += ["--kubeconfig", str(kubeconfig)]
        if context:
            self._argv += ["--context", context]

    def run(self, *arguments, given=None):
        """`given` is standard input, text or bytes."""
        data = given.encode() if isinstance(given, str) else given
        return subprocess.run(
            [*self._argv, *arguments], input=data or b"", stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def must(self, *arguments, given=None):
        done = self.run(*arguments, given=given)
        if done.returncode:
            raise Failure(f"kubectl {' '.join(arguments)} failed: {done.stdout.decode(errors='replace').strip()}")
        return done.stdout.decode()

    def show(self, *arguments):
        print(f"$ kubectl {' '.join(arguments)}\n{self.must(*arguments).rstrip()}", flush=True)
