"""From a request to its response: recorded, checked as its provider checks, answered by script."""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tierwise.error_class import ErrorClass
from tierwise.testing.calls import ReceivedCall
from tierwise.testing.connection import Request
from tierwise.testing.dialects import DIALECTS, WITHOUT_KEY
from tierwise.testing.dialects.base import Asked, Dialect, RateState, Rejected
from tierwise.testing.replies import Failure, Reply
from tierwise.testing.responses import Response, json_response, response_to
from tierwise.testing.script import Script, wait_s


class Answering:
    """Answers the requests of all connections. Runs on the server's thread, is read from others."""

    def __init__(self, script: Script, keys: Collection[str], changed: threading.Condition) -> None:
        self._script = script
        self._keys = frozenset(keys)
        self._changed = changed
        self.calls: list[ReceivedCall] = []
        """What was received, in order. Guarded by the condition, which is told of each."""
        self.failures: list[Exception] = []
        """What functions that choose replies have raised."""

    def answer(self, request: Request) -> tuple[ReceivedCall, Response | None]:
        """Records a request and returns it with its response, which may be none at all."""
        split = urlsplit(request.target)
        provider, _, rest = split.path.removeprefix("/").partition("/")
        dialect = DIALECTS.get(provider)
        body = _parsed(request.content)
        asked = dialect.asked(f"/{rest}", body or {}) if dialect is not None else None
        with self._changed:
            call = ReceivedCall(
                provider=provider if dialect is not None else "",
                method=request.method,
                path=split.path,
                query=dict(parse_qsl(split.query)),
                headers=request.headers,
                content=request.content,
                body=body or {},
                model=asked.model if asked is not None else "",
                streamed=asked is not None and asked.streamed,
                request_id=f"req_{len(self.calls) + 1:016d}",
                start_time=datetime.now(UTC),
            )
            self.calls.append(call)
            self._changed.notify_all()
        if dialect is None:
            return call, _no_such_provider()
        try:
            self._refuse(request, call, dialect, asked)
            if body is None:
                raise Rejected(dialect.not_json(call))  # noqa: TRY301 - one way for all refusals
        except Rejected as rejected:
            return call, json_response(rejected.form, call, dialect)
        return call, self._within_rate(call, dialect)

    def _refuse(
        self, request: Request, call: ReceivedCall, dialect: Dialect, asked: Asked | None
    ) -> None:
        if asked is None or request.method != "POST":
            raise Rejected(dialect.not_found(call))
        if request.too_large:
            raise Rejected(dialect.too_large(call))
        key = dialect.key(call)
        wanted = bool(self._keys) or call.provider not in WITHOUT_KEY
        if wanted and (not key or (self._keys and key not in self._keys)):
            raise Rejected(dialect.key_rejected(key, call))

    def _within_rate(self, call: ReceivedCall, dialect: Dialect) -> Response | None:
        rate = self._script.take_rate(call.provider)
        if rate is None:
            return self._chosen(call, dialect)
        room, state = rate
        response = self._chosen(call, dialect) if room else _over_rate(call, dialect, state)
        if response is not None:
            response.headers.update(dialect.rate_headers(state))
        return response

    def _chosen(self, call: ReceivedCall, dialect: Dialect) -> Response | None:
        try:
            dialect.check(call)
            reply = self._script.next_reply(call, dialect)
        except Rejected as rejected:
            return json_response(rejected.form, call, dialect)
        except Exception as error:  # noqa: BLE001 - the user's function; raised again by `stop`
            self.failures.append(error)
            reply = Reply.error(ErrorClass.SERVER_ERROR, message="the test's function failed")
        return response_to(reply, call, dialect)


def _over_rate(call: ReceivedCall, dialect: Dialect, state: RateState) -> Response:
    failure = Failure(error_class=ErrorClass.RATE_LIMITED, retry_after_s=wait_s(state))
    return json_response(dialect.error(failure, call), call, dialect)


def _no_such_provider() -> Response:
    message = f"the path must start with a provider: {', '.join(sorted(DIALECTS))}"
    content = json.dumps({"error": message}).encode()
    return Response(
        status=404,
        headers={"content-type": "application/json"},
        parts=(content,),
        chunked=False,
        length=len(content),
    )


def _parsed(content: bytes) -> Mapping[str, Any] | None:
    try:
        value = json.loads(content)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
