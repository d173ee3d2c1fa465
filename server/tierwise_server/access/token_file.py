"""Owns the format of the file of tokens, and keeps what is read from it current.

    tokens:
      - caller: web-shop
        sha256: <hex SHA-256 of the token>
        scopes: [route, report]
        expires: "2027-06-30"

`tierwise token` writes such entries. The file is looked at every second. One that has faults
changes nothing: the tokens before it stay, and the log says what is wrong.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import re
from pathlib import Path
from typing import Final

from tierwise_server.access.tokens import Grant, Scope, Tokens
from tierwise_server.catalog.document import Node, read_document
from tierwise_server.catalog.faults import FaultLog, FaultRule, FileFaults
from tierwise_server.catalog.schema import list_items, listing, read_record
from tierwise_server.catalog.values import choice, text

logger = logging.getLogger(__name__)

LOOK_S: Final = 1.0
"""Seconds between looks at the file: how long a token that was withdrawn may still be taken."""

MAX_FILE_BYTES: Final = 4 << 20
MAX_TOKENS: Final = 10_000
MAX_CALLER_LENGTH: Final = 100
"""Longest name of a caller, as in requests."""

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_MAX_WORD: Final = 200


class TokenFileError(Exception):
    """The file of tokens cannot be used; each line of the message is one fault."""


class TokenFile:
    """The tokens of one file, read again when it changes."""

    def __init__(self, path: Path) -> None:
        """Reads the file.

        Raises:
            TokenFileError: It cannot be read, or has faults.
        """
        self._path = path
        self._content = _content_of(path)
        self.tokens = read_tokens(self._content, path.name)

    async def keep_current(self, stop: asyncio.Event) -> None:
        """Takes over edits of the file until told to stop."""
        while not stop.is_set():
            try:
                await asyncio.wait_for(stop.wait(), LOOK_S)
            except TimeoutError:
                await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Takes over the file where it has changed. Blocks on the disk."""
        try:
            content = _content_of(self._path)
            if content == self._content:
                return
            tokens = read_tokens(content, self._path.name)
        except TokenFileError as error:
            if self._content is not None:
                logger.error(  # noqa: TRY400 - the message says it all
                    "the file of tokens is faulty; the tokens before it stay in force",
                    extra={"faults": str(error).splitlines()},
                )
            # So that each state of the file is complained of once.
            self._content = None
            return
        self._content, self.tokens = content, tokens
        logger.info("took over the file of tokens", extra={"tokens": len(tokens)})


def _content_of(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise TokenFileError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(content) > MAX_FILE_BYTES:
        raise TokenFileError(f"{path}: has more than {MAX_FILE_BYTES} bytes")
    return content


def read_tokens(content: bytes | None, name: str) -> Tokens:
    """Returns the tokens that a file admits.

    Args:
        content: The file's bytes.
        name: What faults call the file.

    Raises:
        TokenFileError: With every fault of the file.
    """
    log = FaultLog()
    faults = log.in_file(name)
    node = read_document(content or b"", faults)
    grants = _grants(node, faults) if node is not None else {}
    if log.faults:
        raise TokenFileError("\n".join(map(str, sorted(log.faults))))
    return Tokens(grants)


def _grants(node: Node, faults: FileFaults) -> dict[str, Grant]:
    record = read_record(node, faults, what="the file of tokens", required=("tokens",))
    items = (record.read("tokens", list_items) if record is not None else None) or ()
    if len(items) > MAX_TOKENS:
        faults.add(
            items[MAX_TOKENS], FaultRule.LIST_TOO_LONG, f"There are more than {MAX_TOKENS} tokens."
        )
        return {}
    grants: dict[str, Grant] = {}
    for item in items:
        read = _grant(item, faults)
        if read is None:
            continue
        digest, grant = read
        if digest in grants:
            faults.add(
                item, FaultRule.DUPLICATE_ITEM, "The same token is listed twice.", "Remove one."
            )
        grants[digest] = grant
    return grants


def _grant(node: Node, faults: FileFaults) -> tuple[str, Grant] | None:
    record = read_record(
        node,
        faults,
        what="a token",
        required=("caller", "sha256", "scopes"),
        optional=("expires",),
    )
    if record is None:
        return None
    caller = record.read("caller", text(most=MAX_CALLER_LENGTH))
    digest = record.read("sha256", _digest)
    scopes = record.read("scopes", listing(choice(Scope), key=str))
    expires = record.read("expires", _day)
    if caller is None or digest is None or scopes is None:
        return None
    if record.has("expires") and expires is None:
        return None
    return digest, Grant(caller=caller, scopes=frozenset(scopes), expires=expires)


def _digest(node: Node, faults: FileFaults) -> str | None:
    written = getattr(node, "text", "")
    if _DIGEST.fullmatch(written):
        return str(written)
    faults.add(
        node,
        FaultRule.WRONG_TYPE,
        # Without the value, which may be the token itself.
        "Here has to be the SHA-256 of a token, 64 hex digits.",
        "Let `tierwise token` write the entry.",
    )
    return None


def _day(node: Node, faults: FileFaults) -> datetime.date | None:
    written = getattr(node, "text", "").strip()
    try:
        if len(written) <= _MAX_WORD:
            return datetime.date.fromisoformat(written)
    except ValueError:
        pass
    faults.add(node, FaultRule.WRONG_TYPE, "Here has to be a day.", 'Write it as in "2027-06-30".')
    return None
