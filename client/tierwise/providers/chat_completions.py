"""OpenAI's chat completions, which most servers speak, each in its own dialect.

Format: https://platform.openai.com/docs/api-reference/chat. The dialects are in `openai`, `mistral`
and `compatible`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tierwise.answers import Answer, Delta
from tierwise.decisions import Model
from tierwise.error_class import ErrorClass
from tierwise.errors import ProviderError
from tierwise.messages import ChatRequest
from tierwise.providers import http_errors
from tierwise.providers.base import Endpoint, HttpCall, HttpReply, StreamEvent
from tierwise.providers.chat_answer import AnswerDraft
from tierwise.providers.chat_dialect import Dialect
from tierwise.providers.chat_failures import failure_of_body, is_error
from tierwise.providers.chat_requests import body_of, check
from tierwise.providers.untrusted_json import parsed
from tierwise.request_checks import check_request


@dataclass(frozen=True, slots=True)
class ChatCompletions:
    """An adapter for one dialect."""

    dialect: Dialect

    def call(
        self, request: ChatRequest, model: Model, endpoint: Endpoint, *, stream: bool
    ) -> HttpCall:
        """Returns the request as the server wants it.

        Raises:
            InvalidRequestError: The server can't take such a request.
        """
        check_request(request)
        check(request, self.dialect)
        headers = {}
        if endpoint.key:
            bearer = self.dialect.key_header == "authorization"
            headers[self.dialect.key_header] = f"Bearer {endpoint.key}" if bearer else endpoint.key
        return HttpCall(
            url=self.dialect.url(endpoint.base_url, model.upstream_name),
            headers=headers,
            body=body_of(request, model, self.dialect, stream=stream),
        )

    def answer(self, reply: HttpReply) -> Answer:
        """Reads the response to a call that was not streamed, of any status.

        Raises:
            ProviderError: It is a failure, or makes no sense.
        """
        content = parsed(reply.content)
        if not reply.succeeded or not isinstance(content, Mapping):
            raise self.failure(reply)
        draft = AnswerDraft(self.dialect, reply.headers)
        try:
            draft.add(content, part="message")
            return draft.whole()
        except ProviderError as error:
            if draft.anything:
                error.partial = draft.partial()
            raise

    def failure(self, reply: HttpReply) -> ProviderError:
        """Reads a response whose status is not 2xx, or that is no stream where one was due."""
        content = parsed(reply.content)
        if reply.status >= 400 or (isinstance(content, Mapping) and is_error(content)):  # noqa: PLR2004
            return failure_of_body(
                content, status=reply.status, headers=reply.headers, dialect=self.dialect
            )
        return http_errors.failure(
            ErrorClass.MALFORMED_RESPONSE, status=reply.status, headers=reply.headers
        )

    def reader(self, headers: Mapping[str, str]) -> ChatCompletionsReader:
        """Returns a reader for a stream whose response has these headers, named in lower case."""
        return ChatCompletionsReader(self.dialect, headers)


class ChatCompletionsReader:
    """Puts one streamed answer together."""

    def __init__(self, dialect: Dialect, headers: Mapping[str, str]) -> None:
        self._draft = AnswerDraft(dialect, headers)
        self._dialect = dialect
        self._started = self._done = False

    def feed(self, event: StreamEvent) -> tuple[Delta, ...]:
        """Takes the next event and returns what it adds to the answer.

        Raises:
            ProviderError: The event reports a failure, or makes no sense.
        """
        data = event.data.strip()
        if self._done or not data:
            return ()
        self._started = True
        if data == "[DONE]":
            self._done = True
            return ()
        chunk = parsed(data)
        if not isinstance(chunk, Mapping):
            raise self._draft.malformed("an event of the stream is no JSON object")
        if event.event == "error" and not is_error(chunk):
            chunk = {"error": chunk}
        return self._draft.add(chunk, part="delta")

    def end(self) -> Answer:
        """Returns the whole answer, after the last event.

        Raises:
            ProviderError: The stream broke off, or the answer was withheld or makes no sense.
        """
        # A refusal that broke off is a refusal still, and must not lead to another model.
        self._draft.check_finish()
        if not self._started:
            raise self._draft.malformed("the stream is empty")
        if not self._done and (self._dialect.ends_with_done or not self._draft.finish):
            raise self._draft.broken()
        if not self._draft.finish:
            raise self._draft.malformed("the stream ended without a finish reason")
        return self._draft.whole()

    def partial(self) -> Answer:
        """Returns what was received so far."""
        return self._draft.partial()
