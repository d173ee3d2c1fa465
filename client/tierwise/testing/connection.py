"""One connection: HTTP/1.1 by h11 over asyncio's streams, kept alive from request to request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import h11

from tierwise.testing.calls import CallEnding, ReceivedCall
from tierwise.testing.responses import Ending, Response

_READ_BYTES = 65536
_MAX_HEADER_BYTES = 65536
_LINGER_S = 1.0
"""How long the rest of a refused request is read, so that its sender gets to see the response."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    """Names in lower case."""
    content: bytes
    too_large: bool
    """Whether the content breaks off at the limit."""


Answer = Callable[[Request], tuple[ReceivedCall, Response | None]]


class Connection:
    """Serves the requests of one client, one after another."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        answer: Answer,
        max_request_bytes: int,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._answer = answer
        self._max_request_bytes = max_request_bytes
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEADER_BYTES)

    async def serve(self) -> None:
        """Serves until either side closes. Closes the connection in any case."""
        try:
            while await self._serve_one():
                self._http.start_next_cycle()
            self._writer.close()
            await self._writer.wait_closed()
        except h11.RemoteProtocolError as error:
            self._refuse(error)
        except ConnectionError:
            pass  # the client is gone, and whoever waited for the call has been told
        finally:
            # Where everything went well nothing is left to abort.
            self._writer.transport.abort()

    async def _serve_one(self) -> bool:
        """Serves one request. Returns whether the connection can take another."""
        request = await self._next_request()
        if request is None:
            return False
        call, response = self._answer(request)
        ending = CallEnding.BROKEN_OFF
        try:
            ending = await self._respond(call, response)
        finally:
            call.end(ending)
        if request.too_large:
            await self._linger()
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    async def _next_request(self) -> Request | None:
        head = await self._next_event()
        if not isinstance(head, h11.Request):
            return None
        content = bytearray()
        too_large = False
        while isinstance(event := await self._next_event(), h11.Data):
            content += event.data
            if len(content) > self._max_request_bytes:
                too_large = True
                break
        return Request(
            method=head.method.decode("ascii"),
            target=head.target.decode("ascii"),
            headers={name.decode("ascii"): value.decode("latin-1") for name, value in head.headers},
            content=bytes(content[: self._max_request_bytes]),
            too_large=too_large,
        )

    async def _next_event(self) -> h11.Event | type[h11.NEED_DATA | h11.PAUSED]:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[])
                self._writer.write(self._http.send(go_on) or b"")
            self._http.receive_data(await self._reader.read(_READ_BYTES))
        return event

    async def _respond(self, call: ReceivedCall, response: Response | None) -> CallEnding:
        if response is None:
            return CallEnding.BROKEN_OFF
        sending = asyncio.create_task(self._send(call, response))
        watching = asyncio.create_task(self._watch())
        try:
            await asyncio.wait({sending, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                return CallEnding.LEFT_BY_CLIENT
            sending.result()
        except ConnectionError:
            return CallEnding.LEFT_BY_CLIENT
        finally:
            sending.cancel()
            watching.cancel()
            await asyncio.gather(sending, watching, return_exceptions=True)
        whole = response.ending is Ending.WHOLE
        return CallEnding.ANSWERED if whole else CallEnding.BROKEN_OFF

    async def _send(self, call: ReceivedCall, response: Response) -> None:
        pace = response.pace
        await asyncio.sleep(pace.first_byte_s)
        headers = list(response.headers.items())
        if not response.chunked:
            headers.append(("content-length", str(response.length)))
        if self._http.their_state is not h11.DONE:
            headers.append(("connection", "close"))  # the rest of the request will not be taken
        call.status = response.status
        await self._write(h11.Response(status_code=response.status, headers=headers))
        for index, part in enumerate(response.parts):
            for chunk in _chunks(part, pace.chunk_bytes):
                await self._write(h11.Data(data=chunk))
            if pace.pause_s and index < len(response.parts) - 1:
                await asyncio.sleep(pace.pause_s)
        match response.ending:
            case Ending.WHOLE:
                await self._write(h11.EndOfMessage())
            case Ending.STALL:
                await asyncio.sleep(response.hold_s)
            case Ending.CUT:
                pass

    async def _write(self, event: h11.Event) -> None:
        self._writer.write(self._http.send(event) or b"")
        await self._writer.drain()

    async def _watch(self) -> None:
        """Returns when the client has left, or sends more than it should while it is answered."""
        held = 0
        while data := await self._reader.read(_READ_BYTES):
            held += len(data)
            if held > self._max_request_bytes:
                return
            self._http.receive_data(data)

    async def _linger(self) -> None:
        try:
            self._writer.write_eof()
            async with asyncio.timeout(_LINGER_S):
                while await self._reader.read(_READ_BYTES):
                    pass
        except (TimeoutError, ConnectionError):
            pass  # the client had its chance to read the response

    def _refuse(self, error: h11.RemoteProtocolError) -> None:
        """Tells a client that does not speak HTTP so, if it can still be told."""
        if self._http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            headers = [("content-length", "0"), ("connection", "close")]
            status = error.error_status_hint
            response = self._http.send(h11.Response(status_code=status, headers=headers))
            self._writer.write(response or b"")
        self._writer.close()


def _chunks(part: bytes, size: int | None) -> Iterator[bytes]:
    if size is None:
        size = max(1, len(part))
    for start in range(0, len(part), size):
        yield part[start : start + size]
