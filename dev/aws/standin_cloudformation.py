"""Corrects MiniStack's CloudFormation, which ignores a bucket's ownership controls and lifecycle in templates."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from ministack.services import s3
from ministack.services.cloudformation import provisioners

# CloudFormation User Guide, AWS::S3::Bucket Rule, and where S3's API has the same.
_RULE = {"Id": "ID", "Prefix": "Filter/Prefix", "Status": "Status", "ExpirationInDays": "Expiration/Days"}


def buckets_have_the_ownership_and_lifecycle_of_their_template() -> None:
    provisioners._S3_BUCKET_CONFIGURATIONS += (
        ("OwnershipControls", _ownership, s3._put_bucket_ownership_controls, s3._delete_bucket_ownership_controls),
        ("LifecycleConfiguration", _lifecycle, s3._put_bucket_lifecycle, s3._delete_bucket_lifecycle),
    )


def _ownership(properties: dict[str, Any]) -> bytes:
    root = ElementTree.Element("OwnershipControls")
    for rule in properties["Rules"]:
        _add(ElementTree.SubElement(root, "Rule"), rule)
    return ElementTree.tostring(root)


def _lifecycle(properties: dict[str, Any]) -> bytes:
    root = ElementTree.Element("LifecycleConfiguration")
    for rule in properties["Rules"]:
        element = ElementTree.SubElement(root, "Rule")
        for name, value in rule.items():
            *parents, last = _RULE.get(name, name).split("/")
            inner = element
            for parent in parents:
                inner = ElementTree.SubElement(inner, parent)
            _add(inner, {last: value})
    return ElementTree.tostring(root)


def _add(element: ElementTree.Element, properties: dict[str, Any]) -> None:
    for name, value in properties.items():
        child = ElementTree.SubElement(element, name)
        if isinstance(value, dict):
            _add(child, value)
        else:
            child.text = str(value)
