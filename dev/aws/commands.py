"""What a customer's administrator does, by hand or from a test, as commands.

Documents, object bodies and, if the test wishes, the External ID come by standard input: an argument is
seen by everybody on the machine.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from .accounts import ROLE_NAME, Customer, Document, enforcing_trust, trust
from .faults import KINDS, NONE, Fault, set_fault

Arguments = argparse.Namespace


def _document() -> Document:
    return json.load(sys.stdin)


def _external_id(arguments: Arguments) -> str:
    return sys.stdin.read().strip() if arguments.external_id == "-" else arguments.external_id


def _create(customer: Customer, arguments: Arguments) -> None:
    customer.create_bucket(arguments.bucket, arguments.ownership)
    if arguments.versioned:
        customer.set_versioning(arguments.bucket)
    customer.grant_role(arguments.bucket, _external_id(arguments), arguments.role)
    print(customer.role_arn(arguments.role))
    if arguments.kms:
        print(customer.encrypt_by_default(arguments.bucket))


def _create_role(customer: Customer, arguments: Arguments) -> None:
    customer.create_role(_document(), arguments.role)
    print(customer.role_arn(arguments.role))


def _trust_open(customer: Customer, arguments: Arguments) -> None:
    customer.set_trust(trust(), arguments.role)


def _trust_closed(customer: Customer, arguments: Arguments) -> None:
    customer.set_trust(enforcing_trust(_external_id(arguments)), arguments.role)


def _set_trust(customer: Customer, arguments: Arguments) -> None:
    customer.set_trust(_document(), arguments.role)


def _set_permissions(customer: Customer, arguments: Arguments) -> None:
    customer.set_permissions(_document(), arguments.role)


def _set_bucket_policy(customer: Customer, arguments: Arguments) -> None:
    customer.set_bucket_policy(arguments.bucket, _document())


def _delete_bucket_policy(customer: Customer, arguments: Arguments) -> None:
    customer.delete_bucket_policy(arguments.bucket)


def _list_objects(customer: Customer, arguments: Arguments) -> None:
    for key in customer.list_objects(arguments.bucket, arguments.prefix):
        print(key)


def _list_versions(customer: Customer, arguments: Arguments) -> None:
    for version in customer.list_versions(arguments.bucket, arguments.prefix):
        print(version.key, version.id, "marker" if version.is_marker else "version", sep="\t")


def _get_object(customer: Customer, arguments: Arguments) -> None:
    sys.stdout.buffer.write(customer.get_object(arguments.bucket, arguments.key))


def _put_object(customer: Customer, arguments: Arguments) -> None:
    customer.put_object(arguments.bucket, arguments.key, sys.stdin.buffer.read())


def _head_object(customer: Customer, arguments: Arguments) -> None:
    for name, value in sorted(customer.head_object(arguments.bucket, arguments.key).headers.items()):
        print(f"{name}: {value}")


def _delete(customer: Customer, arguments: Arguments) -> None:
    for role in [arguments.role] if arguments.role else customer.list_roles():
        customer.delete_role(role)
    customer.delete_bucket(arguments.bucket)


def _delete_role(customer: Customer, arguments: Arguments) -> None:
    customer.delete_role(arguments.role)


def _delete_bucket(customer: Customer, arguments: Arguments) -> None:
    customer.delete_bucket(arguments.bucket)


def _encrypt(customer: Customer, arguments: Arguments) -> None:
    print(customer.encrypt_by_default(arguments.bucket))


def _fault(customer: Customer, arguments: Arguments) -> None:
    fault = Fault(customer.account, arguments.kind, tuple(arguments.action), arguments.skip, arguments.count)
    set_fault(arguments.endpoint_url, fault)


_OWNERSHIPS = ("BucketOwnerPreferred", "BucketOwnerEnforced", "ObjectWriter")
_ROLE = {"role": {"default": ROLE_NAME}}
_BUCKET: dict[str, dict[str, Any]] = {"bucket": {"required": True}}
_EXTERNAL_ID: dict[str, dict[str, Any]] = {"external-id": {"required": True, "help": "- reads it from standard input"}}
_KEY: dict[str, dict[str, Any]] = {**_BUCKET, "key": {"required": True}}
_PREFIX: dict[str, dict[str, Any]] = {**_BUCKET, "prefix": {"default": ""}}
_CREATE = {
    **_BUCKET,
    **_EXTERNAL_ID,
    **_ROLE,
    "ownership": {"choices": _OWNERSHIPS, "default": _OWNERSHIPS[0]},
    "versioned": {"action": "store_true"},
    "kms": {"action": "store_true", "help": "encrypt by default with a key made for it, and print that key's ARN"},
}
_FAULT = {
    "kind": {"choices": (*KINDS, NONE), "required": True},
    "action": {"nargs": "+", "default": [], "help": "these actions alone, such as AssumeRole PutObject"},
    "skip": {"type": int, "default": 0, "help": "so many calls pass first"},
    "count": {"type": int, "help": "so many calls are met, then all pass"},
}

# The name of each: what runs, what it is for, its options.
COMMANDS: dict[str, tuple[Callable[[Customer, Arguments], None], str, dict[str, dict[str, Any]]]] = {
    "create": (_create, "bucket, role, trust and permissions", _CREATE),
    "create-role": (_create_role, "a further role; its trust policy by standard input", {"role": {"required": True}}),
    "trust-open": (_trust_open, "remove the External ID condition", _ROLE),
    "trust-closed": (_trust_closed, "put the External ID condition back", {**_EXTERNAL_ID, **_ROLE}),
    "set-trust": (_set_trust, "the role's trust policy, by standard input", _ROLE),
    "set-permissions": (_set_permissions, "the role's permissions, by standard input", _ROLE),
    "set-bucket-policy": (_set_bucket_policy, "the bucket's policy, by standard input", _BUCKET),
    "delete-bucket-policy": (_delete_bucket_policy, "the bucket's policy goes", _BUCKET),
    "list-objects": (_list_objects, "the keys in the bucket", _PREFIX),
    "list-versions": (_list_versions, "key, version ID, and version or marker", _PREFIX),
    "get-object": (_get_object, "an object's content, to standard output", _KEY),
    "put-object": (_put_object, "an object's content, from standard input", _KEY),
    "head-object": (_head_object, "an object's headers, checksums included", _KEY),
    "delete": (_delete, "the bucket with all in it, and one role or all of the account", {**_BUCKET, "role": {}}),
    "delete-role": (_delete_role, "one role", _ROLE),
    "delete-bucket": (_delete_bucket, "the bucket with all in it", _BUCKET),
    "encrypt": (_encrypt, "the bucket by default, with a KMS key made for it; prints its ARN", _BUCKET),
    "fault": (_fault, "between the operator and this account; the platform's account: all its user's calls", _FAULT),
}
