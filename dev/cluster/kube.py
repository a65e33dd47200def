"""kubectl and helm against one cluster: silent, required to succeed, or shown to the reader."""

import subprocess

from .. import tools
from ..progress import Failure


class Kube:
    def __init__(self, kubeconfig=None, context=None):
        """Without a kubeconfig, kubectl's own default applies."""
        config = ["--kubeconfig", str(kubeconfig)] if kubeconfig else []
        self._kubectl = [tools.command("kubectl"), *config, *(["--context", context] if context else [])]
        self._helm = [tools.command("helm"), *config, *(["--kube-context", context] if context else [])]

    def run(self, *arguments, given=None):
        """`given` is standard input, text or bytes."""
        return _run([*self._kubectl, *arguments], given)

    def must(self, *arguments, given=None):
        return _must("kubectl", self.run(*arguments, given=given), arguments)

    def show(self, *arguments):
        print(f"$ kubectl {' '.join(arguments)}\n{self.must(*arguments).rstrip()}", flush=True)

    def helm(self, *arguments):
        return _must("helm", _run([*self._helm, *arguments]), arguments)


def _run(argv, given=None):
    data = given.encode() if isinstance(given, str) else given
    return subprocess.run(argv, input=data or b"", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def _must(command, done, arguments):
    output = done.stdout.decode(errors="replace")
    if done.returncode:
        raise Failure(f"{command} {' '.join(arguments)} failed: {output.strip()}")
    return output
