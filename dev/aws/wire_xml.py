"""Reads AWS's XML responses by element name. The namespace differs by service and is ignored."""

from __future__ import annotations

from xml.etree import ElementTree


def texts(document: bytes, element: str) -> list[str]:
    """The text of every element of this name, in document order."""
    every = ElementTree.fromstring(document).iter()
    return [each.text or "" for each in every if each.tag.rpartition("}")[2] == element]


def text(document: bytes, element: str) -> str:
    """The text of the first such element, or nothing."""
    return next(iter(texts(document, element)), "")


def children(document: bytes, element: str) -> list[dict[str, str]]:
    """For every element of this name, the texts of its children by name."""
    every = ElementTree.fromstring(document).iter()
    return [{child.tag.rpartition("}")[2]: child.text or "" for child in each}
            for each in every if each.tag.rpartition("}")[2] == element]  # fmt: skip
