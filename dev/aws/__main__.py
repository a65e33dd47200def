"""Plays the customer, or sets up the platform's account, against a running stand-in.

    python3 -m dev.aws customer create --bucket acme-recordings --external-id ID
    python3 -m dev.aws customer trust-open        (the customer removes the External ID condition)
    python3 -m dev.aws customer trust-closed --external-id ID
    python3 -m dev.aws customer list-objects --bucket acme-recordings
    python3 -m dev.aws customer fault --kind throttle --action AssumeRole
    python3 -m dev.aws platform-key --deactivate  (the platform's key is revoked)
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ..paths import RUN
from ..progress import Failure
from . import PLATFORM_CREDENTIALS, standin
from .accounts import Customer, Platform, PlatformCredentials
from .client import AwsError
from .commands import COMMANDS


def _platform(arguments: argparse.Namespace) -> None:
    standin.wait_until_healthy(arguments.endpoint_url)
    Platform(arguments.endpoint_url).create().write(arguments.credentials_file)


def _platform_key(arguments: argparse.Namespace) -> None:
    platform = Platform(arguments.endpoint_url)
    if arguments.change == "new":
        platform.new_key().write(arguments.credentials_file)
    else:
        present = PlatformCredentials.read(arguments.credentials_file)
        platform.set_key(present.accessKeyID, active=arguments.change == "activate")


def _arguments() -> argparse.Namespace:
    common = argparse.ArgumentParser(add_help=False)
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    common.add_argument(
        "--endpoint-url", default=endpoint, required=endpoint is None, help="default: $AWS_ENDPOINT_URL"
    )
    parser = argparse.ArgumentParser(prog="python3 -m dev.aws", description=__doc__.partition("\n")[0])
    sides = parser.add_subparsers(required=True, metavar="SIDE")

    platform = sides.add_parser("platform", parents=[common], help="create the platform's account and its user's key")
    platform.add_argument("--credentials-file", required=True, type=Path)
    platform.set_defaults(run=_platform)

    description = "revoke the platform's key, allow it again, or issue a further one"
    key = sides.add_parser("platform-key", parents=[common], help=description)
    change = key.add_mutually_exclusive_group(required=True)
    for name in ("deactivate", "activate", "new"):
        change.add_argument(f"--{name}", action="store_const", dest="change", const=name)
    key.add_argument("--credentials-file", type=Path, default=RUN / PLATFORM_CREDENTIALS, help="default: %(default)s")
    key.set_defaults(run=_platform_key)

    commands = sides.add_parser("customer", help="what a customer's administrator does").add_subparsers(
        required=True, metavar="COMMAND"
    )
    for name, (run, description, options) in COMMANDS.items():
        command = commands.add_parser(name, parents=[common], help=description)
        command.add_argument("--account", default="111111111111")
        command.add_argument("--region", default="us-east-1")
        for option, settings in options.items():
            command.add_argument(f"--{option}", **settings)
        command.set_defaults(run=_as_customer, command=run)
    return parser.parse_args()


def _as_customer(arguments: argparse.Namespace) -> None:
    customer = Customer(arguments.endpoint_url, arguments.account, arguments.region)
    arguments.command(customer, arguments)


def main() -> None:
    arguments = _arguments()
    try:
        arguments.run(arguments)
    except AwsError as error:
        sys.exit(f"AWS refused: {error}")
    except Failure as failure:
        sys.exit(str(failure))
    except OSError as error:
        sys.exit(f"{arguments.endpoint_url}: {error}")


if __name__ == "__main__":
    main()
