"""What the fuzzers feed: each target takes bytes and raises where the product must not.

A target is a plain function, so that the tests can run it on fixed inputs and a fuzzer on its own.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import json
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError

from tierwise.v1.outcome_pb2 import Outcome
from tierwise.v1.routing_input_pb2 import RoutingInput
from tierwise_server.access.token_file import TokenFileError, read_tokens
from tierwise_server.catalog.faults import CatalogInvalidError
from tierwise_server.catalog.files import CatalogFiles, read_catalog_files
from tierwise_server.catalog.loader import parse_catalog
from tierwise_server.catalog.model import Catalog
from tierwise_server.deciding.bounds import TierBounds
from tierwise_server.deciding.decide import close_decision, open_decision
from tierwise_server.deciding.errors import RequestError
from tierwise_server.deciding.language import detect_language
from tierwise_server.encoder.excerpt import ExcerptRule
from tierwise_server.grpc_api.decision_token import InvalidTokenError, decode_token, encode_token
from tierwise_server.grpc_api.outcome_checks import TimeFrame
from tierwise_server.grpc_api.outcomes import read_outcome
from tierwise_server.grpc_api.routing_input import read_query
from tierwise_server.planning.choice import plan_models
from tierwise_server.planning.errors import NoModelQualifiesError
from tierwise_server.planning.fleet import EMPTY_FLEET
from tierwise_server.planning.prices import resolve_prices
from tierwise_server.planning.registry import ModelRegistry, build_registry
from tierwise_server.scoring import phrases_of
from tierwise_server.spelling import Spelling

CATALOG: Final = Path(__file__).resolve().parents[2] / "utterances"

FILES: Final = (
    "catalog.yaml",
    "tiers/budget.yaml",
    "rules.yaml",
    "models.yaml",
    "limits.yaml",
    "background.yaml",
    "cases/basics.yaml",
    "calibration.yaml",
    "evidence/bench.jsonl",
)
"""What the first byte of an input chooses among."""

EXCERPT: Final = ExcerptRule.for_max_tokens(128)
NOW_MS: Final = 1_800_000_000_000


def catalog_file(data: bytes) -> None:
    """Puts the input in the place of one file of a catalog."""
    if not data:
        return
    name = FILES[data[0] % len(FILES)]
    files = CatalogFiles(content={**_small_files(), name: data[1:]})
    try:
        parse_catalog(files)
    except CatalogInvalidError as error:
        for fault in error.faults:
            # Every fault can be shown, and lies where an editor can go.
            assert str(fault).isprintable(), fault
            assert fault.line >= 1, fault
            assert fault.column >= 1, fault


def token_file(data: bytes) -> None:
    """Reads the input as a file of tokens."""
    with contextlib.suppress(TokenFileError):
        read_tokens(data, "tokens.yaml")


def routing_input(data: bytes) -> None:
    """Reads the input as a routing input, and decides as far as that goes without a vector."""
    try:
        message = RoutingInput.FromString(data)
    except DecodeError:
        return
    catalog, registry, spelling = _shipped()
    try:
        query = read_query(message)
        request = query.request
        language = request.language or detect_language(request.text) or ""
        opening = open_decision(catalog, request, language)
        text = spelling.corrected(query.embedded_text)
        EXCERPT.window(text)
        phrases_of(text)
        verdict = close_decision(catalog, opening, None)
        choice = plan_models(
            registry,
            verdict,
            opening.bounds,
            request,
            language=opening.language,
            fleet=EMPTY_FLEET,
            seed=b"",
        )
    except (RequestError, NoModelQualifiesError):
        return
    _check_bounds(opening.bounds, len(catalog.tiers))
    if choice is not None:
        allowed = request.constraints.allowed_providers
        for step in choice.plan.steps:
            provider = step.model.model.provider
            assert not allowed or provider in allowed
            assert provider not in request.constraints.denied_providers


def outcome(data: bytes) -> None:
    """Reads the input as a reported outcome."""
    try:
        message = Outcome.FromString(data)
    except DecodeError:
        return
    read_outcome(message, TimeFrame(now_ms=NOW_MS, retention_days=90), "caller")


def decision_token(data: bytes) -> None:
    """Reads the input as a decision token, and as what one holds behind a right checksum.

    One that is read is written again, and read the same.
    """
    body = zlib.crc32(data).to_bytes(4, "big") + data
    whole = base64.urlsafe_b64encode(body).decode().rstrip("=")
    for text in (data.decode("utf-8", "replace"), f"1.{whole}"):
        try:
            token = decode_token(text)
        except InvalidTokenError:
            continue
        assert decode_token(encode_token(token)) == token


TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = {
    one.__name__: one for one in (catalog_file, token_file, routing_input, outcome, decision_token)
}


def seeds(target: str) -> list[bytes]:
    """Returns inputs to start from."""
    match target:
        case "catalog_file":
            files = read_catalog_files(CATALOG).content
            return [
                bytes([place]) + _head(files[name])
                for place, name in enumerate(FILES)
                if name in files
            ]
        case "token_file":
            entry = f"  - {{caller: a, sha256: '{'0' * 64}', scopes: [route], expires: 2027-01-01}}"
            return [f"tokens:\n{entry}\n".encode()]
        case "routing_input":
            message = RoutingInput(prompt="please summarise this emial", caller="a", language="en")
            message.constraints.allowed_provider_ids.append("openai")
            message.constraints.cost_ceiling_nano_usd = 10**9
            return [message.SerializeToString(), RoutingInput(prompt="hi").SerializeToString()]
        case "outcome":
            return [Outcome(outcome_id="a", decision_id="d").SerializeToString()]
        case _:
            values = ["id", NOW_MS, "default", "rev", "mid", "", 4, "m", "b", 1, None, 0.5, "", ""]
            return [b"1.AAAA", json.dumps([*values, False], separators=(",", ":")).encode()]


def _head(content: bytes) -> bytes:
    """Returns the first lines of a file: a small input mutates better."""
    return b"".join(content.splitlines(keepends=True)[:30])


@cache
def _small_files() -> Mapping[str, bytes]:
    """Returns the files of a small catalog without faults."""
    tier = (
        b"tier: %b\ntasks:\n  %b-task:\n    description: Things.\n    utterances:\n"
        b"      - %b things\n      - do %b\n"
    )
    files = {"catalog.yaml": b"tiers: [budget, mid, premium]\ndefault_tier: mid\n"}
    for name in (b"budget", b"mid", b"premium"):
        files[f"tiers/{name.decode()}.yaml"] = tier.replace(b"%b", name)
    parse_catalog(CatalogFiles(content=files))
    return files


@cache
def _shipped() -> tuple[Catalog, ModelRegistry, Spelling]:
    catalog = parse_catalog(read_catalog_files(CATALOG))
    prices = resolve_prices(catalog.models, datetime.date(2026, 11, 1))
    spelling = Spelling.of(one.text for task in catalog.tasks for one in task.utterances)
    return catalog, build_registry(catalog, prices), spelling


def _check_bounds(bounds: TierBounds, count: int) -> None:
    assert 0 <= bounds.lowest <= bounds.highest < count
