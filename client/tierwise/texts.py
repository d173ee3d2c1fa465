"""The one thing that every text must be, wherever it is sent: Unicode that can be encoded."""

from __future__ import annotations

from tierwise.errors import InvalidRequestError


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
