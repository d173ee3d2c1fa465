"""Pages of a listing."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise_server.deciding.errors import InvalidFieldsError
from tierwise_server.grpc_api.catalog import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, page
from tierwise_server.live_catalog import RevisionMismatchError

REVISION = "0123456789abcdef"


@given(st.integers(0, 60), st.integers(1, 25))
def test_the_pages_together_are_the_list(count: int, size: int) -> None:
    items = list(range(count))
    seen: list[int] = []
    token = ""
    for _ in range(count + 1):
        part, token = page(items, size=size, token=token, revision=REVISION)
        assert len(part) <= size
        seen += part
        if not token:
            break
    assert seen == items


@pytest.mark.parametrize(
    ("size", "length"),
    [
        (0, DEFAULT_PAGE_SIZE),
        (1, 1),
        (999, 999),
        (1_001, MAX_PAGE_SIZE),
        (2**31 - 1, MAX_PAGE_SIZE),
    ],
)
def test_sizes_are_read_as_documented(size: int, length: int) -> None:
    part, following = page(range(3_000), size=size, token="", revision=REVISION)
    assert len(part) == length
    assert following


def test_the_documented_sizes_are_those_in_force() -> None:
    assert (DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE) == (50, 1_000)


def test_a_negative_size_names_the_field() -> None:
    with pytest.raises(InvalidFieldsError) as caught:
        page([1], size=-1, token="", revision=REVISION)
    assert [fault.field for fault in caught.value.faults] == ["page_size"]


def test_a_token_of_another_revision_is_a_mismatch() -> None:
    _, token = page(range(10), size=3, token="", revision="other")
    with pytest.raises(RevisionMismatchError) as caught:
        page(range(10), size=3, token=token, revision=REVISION)
    assert (caught.value.expected, caught.value.actual) == ("other", REVISION)


def forged(start: str) -> str:
    return base64.urlsafe_b64encode(f"{REVISION}:{start}".encode()).decode()


@given(st.text(min_size=1) | st.text("0123456789-_ +", max_size=30).map(forged))
def test_a_forged_token_is_refused_or_reads_like_a_page(token: str) -> None:
    try:
        part, _ = page(range(10), size=3, token=token, revision=REVISION)
    except InvalidFieldsError as error:
        assert [fault.field for fault in error.faults] == ["page_token"]  # noqa: PT017
    except RevisionMismatchError:
        pass
    else:
        assert len(part) <= 3


@pytest.mark.parametrize(
    "token", ["x", "\u00e4\u00f6", "////", forged("x"), forged(""), forged("9" * 5_000)]
)
def test_a_token_that_is_none_names_the_field(token: str) -> None:
    with pytest.raises(InvalidFieldsError) as caught:
        page(range(10), size=3, token=token, revision=REVISION)
    assert [fault.field for fault in caught.value.faults] == ["page_token"]
