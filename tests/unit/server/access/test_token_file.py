"""What a file of tokens admits, and what is said of one that is faulty."""

from __future__ import annotations

import datetime
import logging
from pathlib import Path

import pytest

from tierwise_server.access.token_file import TokenFile, TokenFileError, read_tokens
from tierwise_server.access.tokens import (
    TOKEN_PREFIX,
    Grant,
    Scope,
    Tokens,
    digest_of,
    entry_of,
    new_token,
)

DAY = datetime.date(2027, 6, 30)


def file_of(*entries: str) -> bytes:
    return ("tokens:\n" + "\n".join(entries) + "\n").encode()


def test_an_entry_admits_its_token_with_its_scopes_alone() -> None:
    token = new_token()
    entry = entry_of(token, 'web "shop": eu', [Scope.ROUTE, Scope.REPORT], "2027-06-30")
    tokens = read_tokens(file_of(entry), "tokens.yaml")
    assert tokens.grant_of(token) == Grant(
        caller='web "shop": eu', scopes=frozenset({Scope.ROUTE, Scope.REPORT}), expires=DAY
    )
    assert tokens.grant_of(token + "x") is None
    assert tokens.grant_of(digest_of(token)) is None


def test_tokens_are_long_differ_and_are_told_by_their_prefix() -> None:
    made = {new_token() for _ in range(100)}
    assert len(made) == 100
    assert all(one.startswith(TOKEN_PREFIX) and len(one) >= 43 + len(TOKEN_PREFIX) for one in made)


@pytest.mark.parametrize(
    ("expires", "day", "good"),
    [
        (None, DAY, True),
        (DAY, DAY, True),
        (DAY, DAY + datetime.timedelta(days=1), False),
    ],
)
def test_a_token_is_good_to_the_end_of_its_last_day(
    expires: datetime.date | None, day: datetime.date, good: bool
) -> None:
    grant = Grant(caller="a", scopes=frozenset({Scope.ROUTE}), expires=expires)
    assert grant.is_good_on(day) is good


def test_a_token_with_lone_surrogates_is_not_known_and_no_error() -> None:
    assert Tokens({}).grant_of("\ud800") is None


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "tokens.yaml:1:1: empty-file"),
        (b"- a\n", "tokens.yaml:1:1: wrong-type"),
        (b"tokens: {}\n", "tokens.yaml:1:9: wrong-type"),
        (file_of("  - caller: a"), "missing-key: Key `sha256` is missing"),
        (
            file_of("  - {caller: a, sha256: abc, scopes: [route]}"),
            "Here has to be the SHA-256 of a token, 64 hex digits.",
        ),
        (
            file_of(f"  - {{caller: a, sha256: {'0' * 64}, scopes: [root]}}"),
            "unknown-value: Unknown value `root`",
        ),
        (
            file_of(f"  - {{caller: a, sha256: {'0' * 64}, scopes: []}}"),
            "empty-list",
        ),
        (
            file_of(f"  - {{caller: a, sha256: {'0' * 64}, scopes: [route], expires: soon}}"),
            "Here has to be a day.",
        ),
        (
            file_of(f"  - {{caller: a, sha256: {'0' * 64}, scopes: [route], until: x}}"),
            "unknown-key: Unknown key `until`",
        ),
        (
            file_of(
                f"  - {{caller: a, sha256: '{'0' * 64}', scopes: [route]}}",
                f"  - {{caller: b, sha256: '{'0' * 64}', scopes: [admin]}}",
            ),
            "tokens.yaml:3:5: duplicate-item: The same token is listed twice.",
        ),
        (b"tokens: &a [*a]\n", "alias"),
    ],
)
def test_a_fault_says_where_and_what(content: bytes, fault: str) -> None:
    with pytest.raises(TokenFileError) as caught:
        read_tokens(content, "tokens.yaml")
    assert fault in str(caught.value)


def test_all_faults_are_told_at_once_and_none_shows_what_may_be_a_token() -> None:
    token = new_token()
    content = file_of(
        f"  - {{caller: a, sha256: {token}, scopes: [route]}}",
        "  - {caller: b, scopes: [route]}",
    )
    with pytest.raises(TokenFileError) as caught:
        read_tokens(content, "tokens.yaml")
    assert len(str(caught.value).splitlines()) == 2
    assert token not in str(caught.value)


def test_edits_count_and_faulty_ones_change_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "tokens.yaml"
    first, second = new_token(), new_token()
    path.write_bytes(file_of(entry_of(first, "a", [Scope.ROUTE])))
    file = TokenFile(path)
    path.write_bytes(b"tokens: oops\n")
    with caplog.at_level(logging.ERROR):
        file.look()
        file.look()
    assert file.tokens.grant_of(first) is not None
    assert len(caplog.records) == 1, "a faulty file is complained of once"
    path.unlink()
    file.look()
    assert file.tokens.grant_of(first) is not None
    path.write_bytes(file_of(entry_of(second, "b", [Scope.ADMIN])))
    file.look()
    assert file.tokens.grant_of(first) is None
    assert file.tokens.grant_of(second) == Grant(caller="b", scopes=frozenset({Scope.ADMIN}))


def test_a_missing_file_is_told_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(TokenFileError, match=r"nowhere\.yaml: cannot be read: No such file"):
        TokenFile(tmp_path / "nowhere.yaml")
