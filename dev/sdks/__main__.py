"""Prints the clients; `python3 -m dev.sdks aws DIRECTORY` puts the aws CLI into a directory."""

import sys
from pathlib import Path

from . import link_aws_cli, print_clients

if sys.argv[1:2] == ["aws"]:
    link_aws_cli(Path(sys.argv[2]))
else:
    print_clients()
