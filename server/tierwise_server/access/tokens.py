"""Bearer tokens: what they look like, and what each one lets its bearer do.

A server keeps the SHA-256 of a token, never the token. A plain hash is enough, since tokens are
drawn from 256 bits of chance and not thought up by people: there is nothing to guess.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

TOKEN_PREFIX: Final = "tw_"  # noqa: S105 - tells scanners for leaked secrets what to look for
_TOKEN_BYTES: Final = 32


class Scope(StrEnum):
    """What a token may be used for."""

    ROUTE = "route"
    """Decisions, explanations, and reading the catalog."""
    REPORT = "report"
    """Reports of outcomes."""
    ADMIN = "admin"
    """Reloading a catalog."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What one token lets its bearer do."""

    caller: str
    """Whose calls they are: the name that limits and reports go by."""
    scopes: frozenset[Scope]
    expires: datetime.date | None = None
    """Last day on which the token is good, in UTC. None means for ever."""

    def is_good_on(self, day: datetime.date) -> bool:
        """Returns whether the token has not expired."""
        return self.expires is None or day <= self.expires


class Tokens:
    """The tokens that a server takes. Immutable."""

    def __init__(self, grants: Mapping[str, Grant]) -> None:
        """Takes grants by the hex SHA-256 of their tokens."""
        self._grants = dict(grants)

    def __len__(self) -> int:
        """Returns the number of tokens."""
        return len(self._grants)

    def grant_of(self, token: str) -> Grant | None:
        """Returns what a token grants, expired or not; None for a token that is not known."""
        # The digest of an attacker's guess tells nothing of those that it is compared with, so
        # that the time of the look-up does not either.
        return self._grants.get(digest_of(token))


def new_token() -> str:
    """Returns a token that nobody has had before."""
    return TOKEN_PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)


def digest_of(token: str) -> str:
    """Returns what a server keeps of a token: its SHA-256 in hex."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def entry_of(token: str, caller: str, scopes: Iterable[Scope], expires: str = "") -> str:
    """Returns the lines that admit a token, as `token_file` reads them."""
    lines = [
        f"  - caller: {json.dumps(caller)}",
        f"    sha256: {digest_of(token)}",
        f"    scopes: [{', '.join(sorted(scopes))}]",
    ]
    return "\n".join(lines + ([f'    expires: "{expires}"'] if expires else []))
