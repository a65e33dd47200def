"""Who is behind an access key.

Every credential of the stand-in is issued through the proxy, so the proxy can remember to whom each
was issued. The secrets stay in its memory: with them it asks the stand-in what that caller may do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from . import wire_xml
from .call import Call
from .sigv4 import Credentials

# In the stand-in an access key of twelve digits is the root of that account, with this secret.
ROOT_SECRET = "test"
_ACCOUNT = re.compile(r"^\d{12}$")
_ISSUING_ACTIONS = frozenset({"AssumeRole", "CreateAccessKey"})


@dataclass(frozen=True)
class Caller:
    account: str
    name: str  # root, user/NAME or assumed-role/ROLE/SESSION
    credentials: Credentials

    @property
    def is_session(self) -> bool:
        return self.name.startswith("assumed-role/")


def root_of(account: str) -> Caller:
    return Caller(account, "root", Credentials(account, ROOT_SECRET))


class Callers:
    def __init__(self) -> None:
        self._issued: dict[str, Caller] = {}
        self._accounts: dict[str, None] = {}  # in the order of their last calls

    def find(self, access_key_id: str) -> Caller | None:
        """The caller of a key, or None for a key that was not issued here, which MiniStack refuses by itself."""
        caller = root_of(access_key_id) if _ACCOUNT.match(access_key_id) else self._issued.get(access_key_id)
        if caller:
            self._accounts.pop(caller.account, None)
            self._accounts[caller.account] = None
        return caller

    def accounts_by_last_call(self) -> list[str]:
        """Accounts, the most recent caller first, because the owner of a bucket is most often the caller."""
        return list(reversed(self._accounts))

    @staticmethod
    def issues(call: Call) -> bool:
        return call.action in _ISSUING_ACTIONS

    def remember(self, call: Call, issuer: Caller | None, document: bytes) -> None:
        """Reads the response to a call that issued a credential."""
        key, secret, token = (wire_xml.text(document, f) for f in ("AccessKeyId", "SecretAccessKey", "SessionToken"))
        credentials = Credentials(key, secret, token or None)
        if call.action == "AssumeRole":
            account, name = wire_xml.text(document, "Arn").split(":")[4:6]
        else:
            account, name = issuer.account if issuer else "", f"user/{wire_xml.text(document, 'UserName')}"
        self._issued[credentials.access_key_id] = Caller(account, name, credentials)
