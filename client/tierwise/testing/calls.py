"""What a test server received, as tests read it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

DEFAULT_WAIT_S = 10.0
"""How long a wait for something to happen lasts at most, unless the caller says otherwise."""


class CallEnding(Enum):
    """How a call ended, as the server saw it."""

    ANSWERED = "answered"
    """The response was sent as it should be, errors included."""
    LEFT_BY_CLIENT = "left by client"
    """The client closed the connection before the response was sent."""
    BROKEN_OFF = "broken off"
    """The server closed the connection in the middle: by its script, or because it stopped."""


@dataclass(slots=True, kw_only=True, eq=False)
class ReceivedCall:
    """One request, and what became of it."""

    provider: str
    """Id of the provider that it was sent to. Empty for a path that belongs to none."""
    method: str
    path: str
    """Without the query."""
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Of a parameter given twice, the last value."""
    headers: Mapping[str, str] = field(repr=False)
    """Names in lower case. The key is among them."""
    content: bytes = field(repr=False)
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The content, parsed. Empty where it is no JSON object."""
    model: str = ""
    """The name that was asked for. Empty where none was."""
    streamed: bool = False
    """Whether a stream was asked for."""
    request_id: str
    """What the response's header or body calls the request."""
    start_time: datetime
    """With time zone. When the request was whole."""
    status: int | None = None
    """Of the response. None until one is sent, and where none ever is."""
    ending: CallEnding | None = None
    """None while the call lasts."""
    _ended: threading.Event = field(default_factory=threading.Event, repr=False)

    def wait(self, timeout_s: float = DEFAULT_WAIT_S) -> CallEnding:
        """Blocks until the call has ended and returns how. For use outside an event loop.

        Raises:
            TimeoutError: It is still under way.
        """
        if not self._ended.wait(timeout_s) or self.ending is None:
            raise TimeoutError(f"the call of {self.path} has not ended within {timeout_s} s")
        return self.ending

    def end(self, ending: CallEnding) -> None:
        """Records how the call ended. Only the server calls it."""
        self.ending = ending
        self._ended.set()
