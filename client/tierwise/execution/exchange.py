"""One call of a model: sent and read, whole or as a stream, and checked."""

from __future__ import annotations

from dataclasses import dataclass

from tierwise.answers import Answer
from tierwise.error_class import ErrorClass
from tierwise.errors import ProviderError
from tierwise.execution.attempts import AttemptRecord
from tierwise.execution.effects import (
    Close,
    Emit,
    Post,
    Script,
    check,
    open_stream,
    read,
    send,
)
from tierwise.providers.base import HttpReply, Provider, StreamReader
from tierwise.validators import Validator


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """How long parts of a streamed answer are waited for."""

    head_s: float
    gap_s: float
    """From the head to the first piece, and from each piece to the next."""
    deadline: float
    """Moment on the record's clock by which the first piece must be there."""


def whole(provider: Provider, post: Post, timeout_s: float) -> Script[Answer]:
    """Returns the answer of a call that is not streamed.

    Raises:
        ProviderError: The call failed.
    """
    reply = yield from send(post, timeout_s)
    return provider.answer(reply)


def streamed(
    provider: Provider, post: Post, limits: StreamLimits, record: AttemptRecord
) -> Script[Answer]:
    """Hands an answer over piece by piece, and returns the whole of it.

    Args:
        provider: Who can read it.
        post: The call.
        limits: How long to wait.
        record: Notes when the first piece is handed over, and what was received in all.

    Raises:
        ProviderError: The call failed, or the stream broke off, stalled, made no sense or ended
            without an end; `partial` has what was received.
    """
    head = yield from open_stream(post, limits.head_s, limits.gap_s)
    if isinstance(head, HttpReply):
        raise provider.failure(head)
    reader = provider.reader(head.headers)
    try:
        answer = yield from _read_all(reader, limits, record)
    except ProviderError as failure:
        if failure.partial is None:
            failure.partial = _received(reader)
        record.received = failure.partial
        yield Close()
        raise
    except BaseException:
        # The caller gave up. What was received is still paid for.
        record.received = _received(reader)
        raise
    record.received = answer
    yield Close()
    return answer


def _received(reader: StreamReader) -> Answer | None:
    partial = reader.partial()
    something = partial.text or partial.reasoning or partial.tool_calls or partial.usage
    return partial if something else None


def _read_all(reader: StreamReader, limits: StreamLimits, record: AttemptRecord) -> Script[Answer]:
    wait_until = min(record.clock() + limits.gap_s, limits.deadline)
    while (left_s := wait_until - record.clock()) > 0:
        event = yield from read(left_s)
        if event is None:
            return reader.end()
        for delta in reader.feed(event):
            record.hand_over()
            yield Emit(delta)
            wait_until = record.clock() + limits.gap_s
    # Signs of life alone, such as pings, are no answer.
    raise ProviderError("no part of the answer came in time", error_class=ErrorClass.TIMEOUT)


def rejection(answer: Answer, validators: tuple[Validator, ...]) -> Script[tuple[str, str] | None]:
    """Returns the name of the first check that rejects an answer, and why; None when none does."""
    for validator in validators:
        verdict = yield from check(validator.check, answer)
        if verdict is False or isinstance(verdict, str):
            return validator.name, verdict or "the check rejected the answer"
    return None


def rejected(answer: Answer, name: str, why: str) -> ProviderError:
    """Returns the failure that a rejected answer is."""
    return ProviderError(
        f"rejected by {name}: {why}",
        error_class=ErrorClass.REJECTED_BY_VALIDATOR,
        request_id=answer.request_id,
        partial=answer,
    )
