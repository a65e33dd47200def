"""A second node, which joins the running cluster for tests that lose a node.

    python3 -m dev.cluster.second_node up      (joins, or comes back with its disk)
    python3 -m dev.cluster.second_node lose    (loses its power)
    python3 -m dev.cluster.second_node down    (loses its power and is removed with its disk)
"""

import argparse
import shutil
import sys

from ..paths import KUBECONFIG
from ..progress import Failure
from . import node
from .kube import Kube
from .sandbox import SECOND


def down():
    try:
        node.lose(SECOND)
        shutil.rmtree(SECOND.directory, ignore_errors=True)
    finally:
        Kube(KUBECONFIG).must("delete", "node", SECOND.name, "--ignore-not-found")


COMMANDS = {"up": lambda: node.join(SECOND), "lose": lambda: node.lose(SECOND), "down": down}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python3 -m dev.cluster.second_node", description=__doc__.partition("\n")[0])
    parser.add_argument("command", choices=COMMANDS)
    try:
        COMMANDS[parser.parse_args().command]()
    except Failure as failure:
        sys.exit(str(failure))
