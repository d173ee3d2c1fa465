"""What a field of its kind has to be, whatever it belongs to."""

from __future__ import annotations

from tierwise.errors import InvalidRequestError

MAX_TOKENS = 10_000_000
"""Most tokens of output that the contract takes as an expectation."""


def check_text(text: object, path: str) -> None:
    """Refuses what is no text, or has half of a surrogate pair, which no encoding has.

    Raises:
        InvalidRequestError: It is, or has; `path` is its field.
    """
    if not isinstance(text, str):
        raise InvalidRequestError("it is no text", field=path)
    try:
        text.encode()
    except UnicodeEncodeError:
        # Without the cause, which holds the text.
        raise InvalidRequestError(
            "it holds half of a surrogate pair, which can't be sent", field=path
        ) from None


def check_token_count(count: int, path: str, *, least: int) -> None:
    """Refuses a number of output tokens that is out of range.

    Raises:
        InvalidRequestError: It is; `path` is its field.
    """
    if not least <= count <= MAX_TOKENS:
        raise InvalidRequestError(f"must be from {least} to {MAX_TOKENS}, not {count}", field=path)
