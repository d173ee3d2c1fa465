"""Runs every recorded call of a provider through its adapter.

    python tests/benchmarks/wire.py DATA_FOLDER

The data folder holds `<provider>/<json,stream,error>/*.json`. A recording counts when the request,
rebuilt from our types, comes out equivalent; when text, tool calls, finish reason and usage, or the
class of the failure, are read as recorded; and when a stream gives the same in pieces as in one.
Requests that our types have no words for are listed, and their responses still count.

Every stream is read in one piece, in pieces of one byte (which cuts it at every boundary at once),
and in two pieces cut at evenly spread places. It is broken off after each of its lines and at
evenly spread places, which must never look like an end.
"""

from __future__ import annotations

import argparse
import importlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
from harness import Bar, BenchmarkError, report, rounded, run_program
from httpx_sse import EventSource
from wire_records import Expected, ExpectedUsage, Record, records

from tierwise.answers import Answer, Delta, TextDelta, ToolCallDelta
from tierwise.errors import InvalidRequestError, ProviderError
from tierwise.providers.base import HttpReply, Provider, StreamEvent, StreamReader
from tierwise.providers.registry import KNOWN

LEAST_SHARE = 0.95
CUTS = 40
"""Evenly spread places at which each stream is cut in two, and at which it is broken off."""

PROVIDER_IDS = {"azure_openai": "azure", "gemini": "google"}
"""Provider ids of the folders that are named otherwise."""

LEFT_OUT = {"ollama": "its recordings are of /api/chat; the adapter speaks /v1/chat/completions"}

_ENCODINGS = frozenset({"content-encoding", "transfer-encoding", "content-length"})


@dataclass(slots=True)
class Tally:
    """What came out for one provider."""

    total: int = 0
    misses: list[str] = field(default_factory=list)
    not_modelled: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    """Those that were rebuilt and compared."""
    streams: int = 0

    @property
    def share(self) -> float:
        """Share of the recordings without a miss."""
        return 1 - len(self.misses) / self.total if self.total else 0.0

    def as_json(self) -> dict[str, object]:
        """Returns the figures as they are printed."""
        return {
            "recordings": self.total,
            "share": rounded(self.share),
            "requests_compared": self.requests,
            "streams": self.streams,
            "requests_without_words": dict(self.not_modelled.most_common()),
            "misses": self.misses,
        }


def main() -> int:
    """Reads the command line, runs all recordings and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data_folder", type=Path)
    folder = parser.parse_args().data_folder
    formats = dict(_formats())
    tallies: dict[str, Tally] = {}
    left_out: dict[str, str] = {}
    for path in sorted(one for one in folder.iterdir() if one.is_dir()):
        if path.name in LEFT_OUT:
            left_out[path.name] = LEFT_OUT[path.name]
        elif path.name not in formats:
            left_out[path.name] = "no module wire_<format>.py names it"
        else:
            tallies[path.name] = _run(folder, path.name, formats[path.name])
    if not tallies:
        raise BenchmarkError(f"{folder} holds no recordings of a known provider")
    bars = [
        Bar(
            name=f"{name}: share of recordings", value=tally.share, limit=LEAST_SHARE, at_least=True
        )
        for name, tally in tallies.items()
    ]
    report(
        bars,
        {
            "providers": {name: tally.as_json() for name, tally in tallies.items()},
            "left_out": left_out,
            "cuts_per_stream": CUTS,
        },
    )
    return 0 if all(bar.met for bar in bars) else 1


def _formats() -> Iterator[tuple[str, ModuleType]]:
    for file in sorted(Path(__file__).parent.glob("wire_*.py")):
        module = importlib.import_module(file.stem)
        for name in getattr(module, "PROVIDERS", ()):
            yield name, module


def _run(folder: Path, name: str, form: ModuleType) -> Tally:
    provider = KNOWN[PROVIDER_IDS.get(name, name)].provider
    tally = Tally()
    for record in records(folder, name):
        tally.total += 1
        reasons = [
            *_request_misses(record, provider, form, tally),
            *_response_misses(record, provider, form.expected(record)),
        ]
        if record.kind == "stream":
            tally.streams += 1
        if reasons:
            tally.misses.append(f"{record.name}: {'; '.join(reasons)}")
    return tally


def _request_misses(
    record: Record, provider: Provider, form: ModuleType, tally: Tally
) -> Iterator[str]:
    rebuilt = form.rebuild(record)
    if isinstance(rebuilt, str):
        tally.not_modelled[rebuilt] += 1
        return
    tally.requests += 1
    try:
        call = provider.call(
            rebuilt.request, rebuilt.model, rebuilt.endpoint, stream=record.kind == "stream"
        )
    except InvalidRequestError as error:
        yield f"request refused: {error}"
        return
    if httpx.URL(call.url).path != record.path:
        yield f"request goes to {httpx.URL(call.url).path}"
    if difference := form.equivalent(call.body, record.request):
        yield f"request differs: {difference}"


def _response_misses(record: Record, provider: Provider, expected: Expected) -> Iterator[str]:
    if record.kind != "stream":
        reply = HttpReply(
            status=record.status, headers=record.headers, content=record.body.encode()
        )
        yield from _differences(_unary(provider, reply), expected)
        return
    body = record.body.encode()
    whole = _streamed(record, provider, [body])
    yield from _differences(whole, expected)
    if _streamed(record, provider, [body[n : n + 1] for n in range(len(body))]) != whole:
        yield "the stream differs in pieces of one byte"
    spread = {1 + number * (len(body) - 2) // CUTS for number in range(CUTS)}
    for place in sorted(spread):
        if _streamed(record, provider, [body[:place], body[place:]]) != whole:
            yield f"the stream differs when cut at byte {place}"
    lines = {place for place, byte in enumerate(body) if byte == ord("\n")}
    for place in sorted(spread | lines):
        broken = _streamed(record, provider, [body[:place]])
        if isinstance(broken, Answer) and broken != whole:
            yield f"the stream ends clean when it breaks off at byte {place}"


def _unary(provider: Provider, reply: HttpReply) -> Answer | ProviderError:
    try:
        return provider.answer(reply)
    except ProviderError as error:
        return error


def _streamed(
    record: Record, provider: Provider, pieces: list[bytes]
) -> Answer | tuple[object, ...]:
    """Reads a stream as a client does; returns the answer, or what is to be said of the failure."""
    headers = {name: value for name, value in record.headers.items() if name not in _ENCODINGS}
    response = httpx.Response(record.status, headers=headers, content=iter(pieces))
    reader: StreamReader = provider.reader(record.headers)
    deltas: list[Delta] = []
    try:
        for event in EventSource(response).iter_sse():
            name = event.event if event.event != "message" else ""
            deltas += reader.feed(StreamEvent(event.data, name))
        answer = reader.end()
    except ProviderError as error:
        return error.error_class, str(error), reader.partial()
    said = "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
    calls: dict[int, list[str]] = {}
    for delta in deltas:
        if isinstance(delta, ToolCallDelta):
            entry = calls.setdefault(delta.index, ["", "", ""])
            for place, piece in enumerate((delta.id, delta.name, delta.arguments_json)):
                entry[place] += piece
    told = [(call_id, name, arguments or "{}") for call_id, name, arguments in calls.values()]
    held = [(call.id, call.name, call.arguments_json) for call in answer.tool_calls]
    if said != answer.text or told != held:
        return "the deltas do not add up to the answer", said, tuple(told)
    return answer


def _differences(
    found: Answer | ProviderError | tuple[object, ...], expected: Expected
) -> Iterator[str]:
    if not isinstance(found, Answer):
        error_class = found.error_class if isinstance(found, ProviderError) else found[0]
        if error_class != expected.error_class:
            yield f"failed: {found}, expected {expected.error_class!r}"
        return
    if expected.error_class is not None:
        yield f"answered, expected {expected.error_class!r}"
        return
    values: Mapping[str, tuple[Any, Any]] = {
        "text": (found.text, expected.text),
        "tool calls": (
            tuple((call.name, _arguments(call.arguments_json)) for call in found.tool_calls),
            tuple((name, arguments) for name, arguments in expected.tool_calls),
        ),
        "finish reason": (found.finish_reason, expected.finish_reason),
        "usage": (_usage(found, expected), expected.usage),
    }
    for name, (read, recorded) in values.items():
        if read != recorded:
            yield f"{name}: read {read!r}, recorded {recorded!r}"


def _arguments(written: str) -> Any:  # noqa: ANN401 - a JSON value
    return json.loads(written) if written else {}


def _usage(answer: Answer, expected: Expected) -> ExpectedUsage | None:
    """Returns the usage that was read, of what the recording names."""
    if answer.usage is None:
        return None
    found, stated = answer.usage, expected.usage

    def where_named(part: str, count: int) -> int | None:
        return None if getattr(stated, part, None) is None else count

    return ExpectedUsage(
        input_tokens=found.input_tokens,
        output_tokens=found.output_tokens,
        cached_input_tokens=where_named("cached_input_tokens", found.cached_input_tokens),
        reasoning_tokens=where_named("reasoning_tokens", found.reasoning_tokens),
        cache_write_tokens=where_named("cache_write_tokens", found.cache_write_tokens),
    )


if __name__ == "__main__":
    run_program(main)
