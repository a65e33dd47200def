"""Parts of the bench by name."""

import argparse
import sys

from . import PARTS, show
from ..progress import Failure

parser = argparse.ArgumentParser(prog="python3 -m dev.bench", description=__doc__)
parser.add_argument("part", nargs="+", choices=PARTS)
try:
    show(parser.parse_args().part)
except Failure as failure:
    sys.exit(str(failure))
