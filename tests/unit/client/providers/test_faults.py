"""Every failure that providers are known to report comes out as its one class.

The files in `tests/faults` are named by provider id. Each is a list of faults: `name`, `source`
(the recording or page that it was taken from), `kind` (`status`, `body-in-200`, `stream-event` or
`finish-reason`), `status` (200 unless given), `headers`, `body` or `stream` (the events as sent),
`error_class` and, where the provider says how long to wait, `retry_after_s`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from httpx_sse import EventSource

from tierwise.error_class import ErrorClass
from tierwise.errors import ProviderError
from tierwise.providers.base import HttpReply, Provider, StreamEvent
from tierwise.providers.registry import KNOWN

FOLDER = Path(__file__).parents[3] / "faults"
FIELDS = {"name", "source", "kind", "status", "headers", "body", "stream", "error_class"}
KINDS = {"status", "body-in-200", "stream-event", "finish-reason"}
CLASSES = {one.word: one for one in ErrorClass}
SHORTEST_QUOTATION = 25


def faults() -> Iterator[Any]:
    for file in sorted(FOLDER.glob("*.yaml")):
        for fault in yaml.safe_load(file.read_text(encoding="utf-8")):
            yield pytest.param(file.stem, fault, id=f"{file.stem}: {fault['name']}")


FAULTS = list(faults())


def reply(fault: Mapping[str, Any]) -> HttpReply:
    headers = {name.lower(): str(value) for name, value in fault.get("headers", {}).items()}
    return HttpReply(
        status=fault.get("status", 200), headers=headers, content=fault["body"].encode()
    )


def read(provider: Provider, fault: Mapping[str, Any]) -> ProviderError:
    """Returns the failure that a client meets."""
    receive = read_stream if "stream" in fault else read_whole
    with pytest.raises(ProviderError) as caught:
        receive(provider, fault)
    return caught.value


def read_whole(provider: Provider, fault: Mapping[str, Any]) -> None:
    provider.answer(reply(fault))


def read_stream(provider: Provider, fault: Mapping[str, Any]) -> None:
    stream, headers = fault["stream"], fault.get("headers", {})
    response = httpx.Response(
        200, headers={"content-type": "text/event-stream"}, content=stream.encode()
    )
    reader = provider.reader(headers)
    for event in EventSource(response).iter_sse():
        reader.feed(StreamEvent(event.data, event.event))
    reader.end()


def prose(value: object) -> Iterator[str]:
    """Returns what a body says in words."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from prose(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from prose(inner)
    elif isinstance(value, str) and len(value) >= SHORTEST_QUOTATION and " " in value:
        yield value


@pytest.mark.parametrize(("provider_id", "fault"), FAULTS)
def test_fault_is_of_its_class(provider_id: str, fault: Mapping[str, Any]) -> None:
    assert set(fault) <= {*FIELDS, "retry_after_s"}
    assert fault["source"]
    assert fault["kind"] in KINDS
    assert ("body" in fault) != ("stream" in fault)

    error = read(KNOWN[provider_id].provider, fault)

    assert error.error_class is CLASSES[fault["error_class"]], str(error)
    if "retry_after_s" in fault:
        assert error.retry_after_s == pytest.approx(fault["retry_after_s"])


@pytest.mark.parametrize(("provider_id", "fault"), FAULTS)
def test_fault_is_told_without_the_providers_words(
    provider_id: str, fault: Mapping[str, Any]
) -> None:
    error = read(KNOWN[provider_id].provider, fault)
    assert str(error)
    try:
        said = list(prose(json.loads(fault.get("body", "null"))))
    except ValueError:
        said = []
    assert not [words for words in said if words in str(error)]


@pytest.mark.parametrize(
    ("provider_id", "fault"),
    [one for one in FAULTS if one.values[1]["kind"] == "status"],
)
def test_fault_is_the_same_where_a_stream_was_due(
    provider_id: str, fault: Mapping[str, Any]
) -> None:
    error = KNOWN[provider_id].provider.failure(reply(fault))
    assert error.error_class is CLASSES[fault["error_class"]]
    assert error.status_code == fault["status"]


def test_every_known_provider_has_faults() -> None:
    assert {file.stem for file in FOLDER.glob("*.yaml")} == set(KNOWN)
