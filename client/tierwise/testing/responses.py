"""From a reply to the bytes of a response: the answer in its dialect, with its faults worked in."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from tierwise.answers import Usage
from tierwise.error_class import ErrorClass
from tierwise.testing.calls import ReceivedCall
from tierwise.testing.dialects.base import Dialect, ErrorForm, Event, Rendering, tokens
from tierwise.testing.replies import (
    Completion,
    Failure,
    Fault,
    FaultKind,
    Pace,
    RawResponse,
    Reply,
    Withheld,
)

_JSON = "application/json"
_MALFORMED = b'data: {"id": "broken", "choices": [{"delta": {"content": "\n\n'


class Ending(Enum):
    """What follows the last part of a response."""

    WHOLE = "whole"
    """The end of the response, as HTTP wants it."""
    CUT = "cut"
    """The end of the connection."""
    STALL = "stall"
    """Nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An HTTP response and how it is to be sent."""

    status: int
    headers: dict[str, str]
    parts: tuple[bytes, ...]
    """Of the body."""
    chunked: bool
    """Whether the length is left open. If not, it is `length`."""
    length: int
    """What the headers claim, whatever is sent."""
    ending: Ending = Ending.WHOLE
    hold_s: float = 0.0
    """How long a stall lasts at most."""
    pace: Pace = field(default_factory=Pace)


def response_to(reply: Reply, call: ReceivedCall, dialect: Dialect) -> Response | None:
    """Returns a reply as the dialect's response to a call.

    None means that the connection closes without one.
    """
    response = _unbroken(reply, call, dialect)
    if response is None:
        return None
    if reply.fault is not None:
        break_off = _broken_stream if response.chunked else _broken_whole
        response = break_off(response, reply.fault)
    return replace(response, pace=reply.pace)


def json_response(form: ErrorForm, call: ReceivedCall, dialect: Dialect) -> Response:
    """Returns an error as a response."""
    headers = {**dialect.request_headers(call), **form.headers}
    return _whole(form.status, json.dumps(form.body).encode(), _JSON, headers)


def _unbroken(reply: Reply, call: ReceivedCall, dialect: Dialect) -> Response | None:
    content, fault = reply.content, reply.fault
    if fault is not None and fault.failure is not None and not call.streamed:
        content = fault.failure
    if isinstance(content, RawResponse):
        return _raw(content)
    if (
        isinstance(content, Failure)
        and content.error_class is ErrorClass.CONTENT_POLICY
        and not dialect.blocks_with_error
    ):
        content = Completion(withheld=Withheld.BLOCKED)
    if isinstance(content, Failure):
        return _failed(content, call, dialect)
    return _answered(content, fault, call, dialect)


def _answered(
    content: Completion, fault: Fault | None, call: ReceivedCall, dialect: Dialect
) -> Response:
    rendering = Rendering(
        completion=content,
        call=call,
        usage=content.usage or _counted(content, call, dialect),
        created=int(time.time()),
    )
    headers = dict(dialect.request_headers(call))
    if not call.streamed:
        return _whole(200, json.dumps(dialect.answer(rendering)).encode(), _JSON, headers)
    events = dialect.events(rendering)
    if fault is not None and fault.kind is FaultKind.ERROR:
        events = (*events[: fault.after_events], *_error_events(fault, call, dialect))
    parts = dialect.encoded(events, call)
    headers |= {"content-type": dialect.stream_content_type, "cache-control": "no-cache"}
    return Response(status=200, headers=headers, parts=parts, chunked=True, length=0)


def _failed(failure: Failure, call: ReceivedCall, dialect: Dialect) -> Response | None:
    if failure.error_class is ErrorClass.CONNECTION:
        return None
    if failure.error_class is ErrorClass.MALFORMED_RESPONSE:
        headers = dict(dialect.request_headers(call))
        return _whole(failure.status or 200, b'{"id": "broken", "choices": [', _JSON, headers)
    return json_response(dialect.error(failure, call), call, dialect)


def _whole(status: int, content: bytes, content_type: str, headers: dict[str, str]) -> Response:
    return Response(
        status=status,
        headers={**headers, "content-type": content_type},
        parts=(content,),
        chunked=False,
        length=len(content),
    )


def _raw(raw: RawResponse) -> Response:
    # How the body is framed is the connection's; a false length would break the next response.
    framing = {"content-length", "transfer-encoding", "connection"}
    headers = {name: value for name, value in raw.headers.items() if name.lower() not in framing}
    size = len(raw.content)
    return Response(
        status=raw.status, headers=headers, parts=(raw.content,), chunked=False, length=size
    )


def _counted(completion: Completion, call: ReceivedCall, dialect: Dialect) -> Usage:
    reasoning = len(tokens(completion.reasoning))
    arguments = "".join(one.arguments_json for one in completion.tool_calls)
    answer = len(tokens(completion.text)) + len(tokens(arguments))
    return Usage(
        input_tokens=dialect.prompt(call.body).token_count,
        output_tokens=answer + reasoning,
        reasoning_tokens=reasoning,
    )


def _broken_stream(response: Response, fault: Fault) -> Response:
    parts = _sent(response.parts, fault)
    match fault.kind:
        case FaultKind.CUT:
            return replace(response, parts=parts, ending=Ending.CUT)
        case FaultKind.CLEAN_END:
            return replace(response, parts=parts)
        case FaultKind.STALL:
            return replace(response, parts=parts, ending=Ending.STALL, hold_s=fault.hold_s)
        case FaultKind.MALFORMED:
            rest = response.parts[len(parts) :]
            return replace(response, parts=(*parts, _MALFORMED, *rest))
        case FaultKind.ERROR:
            return response  # it is among the events already


def _broken_whole(response: Response, fault: Fault) -> Response:
    content = b"".join(response.parts)
    if fault.after_bytes is None:
        content = content[: len(content) // 2] if fault.after_events else b""
    else:
        content = content[: fault.after_bytes]
    match fault.kind:
        case FaultKind.CUT:
            return replace(response, parts=(content,), ending=Ending.CUT)
        case FaultKind.STALL:
            return replace(response, parts=(content,), ending=Ending.STALL, hold_s=fault.hold_s)
        case FaultKind.CLEAN_END | FaultKind.MALFORMED:
            return replace(response, parts=(content,), length=len(content))
        case FaultKind.ERROR:
            return response  # it is the whole response already


def _sent(parts: Sequence[bytes], fault: Fault) -> tuple[bytes, ...]:
    if fault.after_bytes is None:
        return tuple(parts[: fault.after_events])
    sent: list[bytes] = []
    left = fault.after_bytes
    for part in parts:
        if left <= 0:
            break
        sent.append(part[:left])
        left -= len(part)
    return tuple(sent)


def _error_events(fault: Fault, call: ReceivedCall, dialect: Dialect) -> tuple[Event, ...]:
    if fault.failure is None:
        return ()
    return dialect.error_events(dialect.error(fault.failure, call))
