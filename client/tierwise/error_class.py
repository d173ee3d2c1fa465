"""What can go wrong with one call of a model, in the same words for every provider."""

from __future__ import annotations

from enum import IntEnum


class ErrorClass(IntEnum):
    """A failed call. The numbers are those of the contract; a test holds them equal."""

    RATE_LIMITED = 1
    """The provider refused the call for its rate; a later call may succeed."""
    TIMEOUT = 2
    """No answer, or no further part of it, within the time limit."""
    OVERLOADED = 3
    """The provider has no capacity at the moment."""
    SERVER_ERROR = 4
    """The provider failed internally."""
    CONNECTION = 5
    """The connection could not be made, or broke before the answer was whole."""
    CONTEXT_TOO_LONG = 6
    """The prompt and the requested output exceed the model's context window."""
    CONTENT_POLICY = 7
    """The provider declined for reasons of content. Never leads to another model."""
    INVALID_REQUEST = 8
    """The request is wrong in itself. Never leads to another model."""
    AUTHENTICATION = 9
    """The key is missing, wrong, or lacks a permission."""
    QUOTA_EXHAUSTED = 10
    """The account's credit or quota is used up; waiting does not help."""
    MALFORMED_RESPONSE = 11
    """An answer came that makes no sense in the provider's own format."""
    REJECTED_BY_VALIDATOR = 12
    """The answer was well formed, and a check of the caller's rejected it."""
    CANCELLED = 13
    """The caller gave up. Never leads to another model."""

    @property
    def word(self) -> str:
        """The class as the documentation writes it. Example: `rate-limited`."""
        return self.name.lower().replace("_", "-")
