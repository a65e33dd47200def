"""The append-only record of every call, one JSON object a line, by which the suite counts AWS calls.

It holds names, never secrets: no credential, no signature, and of the External ID only whether
there was one.
"""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path

from .call import Call
from .callers import Caller


class AccessLog:
    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1, encoding="utf-8")

    def write(self, call: Call, caller: Caller | None, status: int, milliseconds: float, rule: str) -> None:
        """Records one call, when its response began, and the fault or the rule that answered it, if any."""
        entry = {
            "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "service": call.service,
            "action": call.action,
            "status": status,
            "milliseconds": round(milliseconds, 1),
            "accessKeyID": call.scope.access_key_id if call.scope else "",
            "account": caller.account if caller else "",
            "caller": caller.name if caller else "",
            "rule": rule,
        }
        if call.is_s3:
            entry |= {"bucket": call.bucket, "key": call.key}
        if call.action == "AssumeRole":
            entry |= {
                "roleARN": call.parameters.get("RoleArn", ""),
                "sessionName": call.parameters.get("RoleSessionName", ""),
                "externalIdPresent": "ExternalId" in call.parameters,
            }
        self._file.write(json.dumps(entry) + "\n")
