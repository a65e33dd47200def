"""Plays the customer, or sets up the platform's account, against a running stand-in.

    python3 -m dev.aws customer create --bucket acme-recordings --external-id ID
    python3 -m dev.aws customer trust-open        (the customer removes the External ID condition)
    python3 -m dev.aws customer trust-closed --external-id ID
    python3 -m dev.aws customer list-objects --bucket acme-recordings
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ..progress import Failure
from . import standin
from .accounts import ROLE_NAME, Customer, create_platform, enforcing_trust, trust
from .client import AwsError


def _platform(arguments: argparse.Namespace) -> None:
    standin.wait_until_healthy(arguments.endpoint_url)
    credentials = create_platform(arguments.endpoint_url)
    descriptor = os.open(arguments.credentials_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(credentials.to_json())


def _create(customer: Customer, arguments: argparse.Namespace) -> None:
    customer.set_up(arguments.bucket, arguments.external_id, arguments.role)
    print(customer.role_arn(arguments.role))


def _trust_open(customer: Customer, arguments: argparse.Namespace) -> None:
    customer.set_trust(trust(), arguments.role)


def _trust_closed(customer: Customer, arguments: argparse.Namespace) -> None:
    customer.set_trust(enforcing_trust(arguments.external_id), arguments.role)


def _list_objects(customer: Customer, arguments: argparse.Namespace) -> None:
    for key in customer.list_objects(arguments.bucket, arguments.prefix):
        print(key)


def _get_object(customer: Customer, arguments: argparse.Namespace) -> None:
    sys.stdout.buffer.write(customer.get_object(arguments.bucket, arguments.key))


def _head_object(customer: Customer, arguments: argparse.Namespace) -> None:
    for name, value in sorted(customer.head_object(arguments.bucket, arguments.key).headers.items()):
        print(f"{name}: {value}")


def _delete(customer: Customer, arguments: argparse.Namespace) -> None:
    customer.delete_role(arguments.role)
    customer.delete_bucket(arguments.bucket)


_CUSTOMER_COMMANDS = {
    "create": (_create, "bucket, role, trust and permissions", ("bucket", "external-id", "role")),
    "trust-open": (_trust_open, "remove the External ID condition", ("role",)),
    "trust-closed": (_trust_closed, "put the External ID condition back", ("external-id", "role")),
    "list-objects": (_list_objects, "the keys in the bucket", ("bucket", "prefix")),
    "get-object": (_get_object, "an object's content, to standard output", ("bucket", "key")),
    "head-object": (_head_object, "an object's headers, checksums included", ("bucket", "key")),
    "delete": (_delete, "everything that create made", ("bucket", "role")),
}
_OPTIONS = {
    "bucket": {"required": True},
    "external-id": {"required": True},
    "key": {"required": True},
    "prefix": {"default": ""},
    "role": {"default": ROLE_NAME},
}


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

    commands = sides.add_parser("customer", help="what a customer's administrator does").add_subparsers(
        required=True, metavar="COMMAND"
    )
    for name, (run, description, options) in _CUSTOMER_COMMANDS.items():
        command = commands.add_parser(name, parents=[common], help=description)
        command.add_argument("--account", default="111111111111")
        command.add_argument("--region", default="us-east-1")
        for option in options:
            command.add_argument(f"--{option}", **_OPTIONS[option])
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
