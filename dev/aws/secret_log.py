"""The values that must not leak into logs, statuses and events; the secret scan searches for them.

The file has one JSON object a line and is readable by its owner alone. It holds the External IDs and secrets that went
through the proxy, and the request IDs: a status with a request ID would change at every call.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from . import wire_xml
from .call import Call

FILE = "secrets.jsonl"


class SecretLog:
    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._file = os.fdopen(descriptor, "w", buffering=1, encoding="utf-8")
        self._external_ids: set[str] = set()

    def see_request(self, call: Call) -> None:
        external_id = call.parameters.get("ExternalId")
        if call.action == "AssumeRole" and external_id and external_id not in self._external_ids:
            self._external_ids.add(external_id)
            self.write("external-id", external_id)

    def see_issued(self, document: bytes) -> None:
        for kind, element in (("secret-access-key", "SecretAccessKey"), ("session-token", "SessionToken")):
            if value := wire_xml.text(document, element):
                self.write(kind, value)

    def write(self, kind: str, value: str) -> None:
        self._file.write(json.dumps({"kind": kind, "value": value}) + "\n")
