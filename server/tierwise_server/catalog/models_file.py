"""Owns the format of `models.yaml`: the registry of language models."""

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from tierwise_server.catalog.document import Node, Scalar
from tierwise_server.catalog.faults import FaultRule, FileFaults, Position, quoted
from tierwise_server.catalog.ids import Location, ModelId, TierId
from tierwise_server.catalog.known import KnownIds
from tierwise_server.catalog.registry import Capability, Model, Price, PriceSource, RateLimits
from tierwise_server.catalog.schema import (
    Reader,
    Record,
    list_items,
    listing,
    mapping_entries,
    read_record,
    refuse_type,
)
from tierwise_server.catalog.settings_file import MAX_NAME_LENGTH
from tierwise_server.catalog.values import choice, decimal, identifier, integer, number, text

MODELS_FILE: Final = "models.yaml"
"""Path of the file inside the catalog folder."""

MAX_MODELS: Final = 5000
"""Most models of a catalog."""

CAPABILITIES = listing(
    choice(Capability, FaultRule.UNKNOWN_CAPABILITY), key=lambda capability: capability
)
"""Reads a list of capabilities, wherever one may stand."""

_MAX_COUNT: Final = 1_000_000_000
_MAX_DOLLARS: Final = "1000000"
_PRICES_OF_CACHING: Final = ("cached_input", "cache_write")
_LABEL_KEY: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_REQUIRED: Final = (
    "id",
    "provider",
    "name",
    "tier",
    "price",
    "context_window",
    "max_output_tokens",
)
_OPTIONAL: Final = (
    "capabilities",
    "quality",
    "limits",
    "labels",
    "base_url",
    "weight",
    "token_family",
)


@dataclass(slots=True, kw_only=True)
class RegistryDraft:
    """What the file holds so far."""

    place: Position
    """Where faults of the whole registry are reported."""
    models: list[Model] = field(default_factory=list)
    """Models without a fault of their own."""
    lines: dict[str, int] = field(default_factory=dict)
    """Line of each model id, with those of faulty models."""
    tiers: set[str] = field(default_factory=set)
    """Tiers that some model names, with those of faulty models."""
    has_unread_tier: bool = False
    """Whether some model's tier can't be told, so that it may be any."""


def read_models(node: Node, faults: FileFaults, known: KnownIds) -> RegistryDraft | None:
    """Returns the registry, or None when there is no list of models to read."""
    record = read_record(node, faults, what="the registry", required=("models",))
    items = record.read("models", list_items) if record else None
    if record is None or items is None:
        return None
    if len(items) > MAX_MODELS:
        message = f"The registry has more than {MAX_MODELS} models."
        faults.add(items[MAX_MODELS], FaultRule.LIST_TOO_LONG, message)
        return None
    draft = RegistryDraft(place=record.key("models"))
    for item in items:
        fields = read_record(item, faults, what="a model", required=_REQUIRED, optional=_OPTIONAL)
        if fields is None:
            draft.has_unread_tier = True
        else:
            _read_model(fields, draft, faults, known)
    return draft


def check_coverage(
    draft: RegistryDraft, tiers: Sequence[str], default_tier: str, faults: FileFaults
) -> None:
    """Adds a fault for each tier that no model belongs to."""
    for tier in tiers:
        if draft.has_unread_tier or tier in draft.tiers:
            continue
        is_default = tier == default_tier
        faults.add(
            draft.place,
            FaultRule.DEFAULT_TIER_WITHOUT_MODEL if is_default else FaultRule.EMPTY_TIER,
            f"The {'default ' if is_default else ''}tier {quoted(tier)} has no model.",
            f"Add a model with `tier: {tier}`.",
        )


def _read_model(fields: Record, draft: RegistryDraft, faults: FileFaults, known: KnownIds) -> None:
    name = fields.read("id", identifier)
    if name is not None:
        _claim_id(name, draft, faults)
    tier = fields.read("tier", identifier)
    if tier is None:
        draft.has_unread_tier = True
    else:
        known.check_tier(tier, faults)
        draft.tiers.add(tier.text)
    provider = fields.read("provider", identifier)
    upstream_name = fields.read("name", text(most=MAX_NAME_LENGTH))
    price = fields.read("price", _price)
    window = fields.read("context_window", integer(least=1, most=_MAX_COUNT))
    output = fields.read("max_output_tokens", integer(least=1, most=_MAX_COUNT))
    if window is not None and output is not None and output > window:
        faults.add(
            fields.key("max_output_tokens"),
            FaultRule.OUTPUT_EXCEEDS_WINDOW,
            f"The output limit of {output} tokens exceeds the context window of {window}.",
            "The window counts input and output together.",
        )
    # Read before anything returns, so that the faults of optional keys show as well.
    capabilities = frozenset(fields.read("capabilities", CAPABILITIES) or ())
    quality = fields.read("quality", number(least="0", most="1"))
    limits = fields.read("limits", _limits) or RateLimits()
    labels = fields.read("labels", _labels) or {}
    base_url = fields.read("base_url", _base_url)
    weight = fields.read("weight", number(least="0.000001", most="1000000"))
    token_family = fields.read("token_family", identifier)
    if (
        name is None
        or tier is None
        or provider is None
        or upstream_name is None
        or price is None
        or window is None
        or output is None
    ):
        return
    draft.models.append(
        Model(
            id=ModelId(name.text),
            provider=provider.text,
            name=upstream_name,
            tier=TierId(tier.text),
            price_source=price[0],
            price=price[1],
            context_window=window,
            max_output_tokens=output,
            capabilities=capabilities,
            quality=quality,
            limits=limits,
            labels=MappingProxyType(labels),
            base_url=base_url,
            weight=weight,
            token_family=token_family.text if token_family else None,
            location=Location(file=faults.file, line=name.line),
        )
    )


def _claim_id(name: Scalar, draft: RegistryDraft, faults: FileFaults) -> None:
    if name.text in draft.lines:
        faults.add(
            name,
            FaultRule.DUPLICATE_MODEL,
            f"The model {quoted(name.text)} is already on line {draft.lines[name.text]}.",
            "Give one of the two another id.",
        )
    draft.lines.setdefault(name.text, name.line)


def _price(node: Node, faults: FileFaults) -> tuple[PriceSource, Price | None] | None:
    if isinstance(node, Scalar):
        if node.text in {PriceSource.CATALOG, PriceSource.UNKNOWN}:
            return PriceSource(node.text), None
        faults.add(
            node,
            FaultRule.UNKNOWN_VALUE,
            f"{quoted(node.text)} is not a price." if node.text else "The price is empty.",
            "Write `{input: 0.15, output: 0.60}` (USD a million tokens), `catalog` or `unknown`.",
        )
        return None
    record = read_record(
        node,
        faults,
        what="a price",
        required=("input", "output"),
        optional=(*_PRICES_OF_CACHING, "per_call", "as_of"),
    )
    if record is None:
        return None
    amounts = {
        key: record.read(key, _dollars)
        for key in ("input", "output", *_PRICES_OF_CACHING, "per_call")
    }
    if amounts["input"] is None or amounts["output"] is None:
        return None
    return PriceSource.FILE, Price(
        input=amounts["input"],
        output=amounts["output"],
        cached_input=amounts["cached_input"],
        cache_write=amounts["cache_write"],
        per_call=amounts["per_call"] or Decimal(0),
        as_of=record.read("as_of", _day),
    )


def _day(node: Node, faults: FileFaults) -> datetime.date | None:
    try:
        if isinstance(node, Scalar):
            return datetime.date.fromisoformat(node.text)
    except ValueError:
        pass  # said below
    refuse_type(node, faults, "Here has to be a day such as 2026-11-22")
    return None


def _dollars(node: Node, faults: FileFaults) -> Decimal | None:
    amount = decimal(least=f"-{_MAX_DOLLARS}", most=_MAX_DOLLARS)(node, faults)
    if amount is not None and amount < 0:
        faults.add(node, FaultRule.NEGATIVE_PRICE, f"The price {amount} is negative.")
        return None
    return amount


def _limits(node: Node, faults: FileFaults) -> RateLimits | None:
    record = read_record(
        node, faults, what="limits", optional=("requests_per_minute", "tokens_per_minute")
    )
    if record is None:
        return None
    count: Reader[int] = integer(least=1, most=_MAX_COUNT)
    return RateLimits(
        requests_per_minute=record.read("requests_per_minute", count),
        tokens_per_minute=record.read("tokens_per_minute", count),
    )


def _labels(node: Node, faults: FileFaults) -> dict[str, str] | None:
    entries = mapping_entries(node, faults, what="labels")
    if entries is None:
        return None
    labels: dict[str, str] = {}
    for entry in entries:
        if not _LABEL_KEY.fullmatch(entry.key.text):
            faults.add(
                entry.key,
                FaultRule.INVALID_ID,
                f"{quoted(entry.key.text)} is not a label: small letters, digits, dashes and "
                "underscores, a letter first.",
            )
        value = text(most=MAX_NAME_LENGTH)(entry.value, faults)
        if value is not None:
            labels[entry.key.text] = value
    return labels


def _base_url(node: Node, faults: FileFaults) -> str | None:
    url = text(most=2 * MAX_NAME_LENGTH)(node, faults)
    if url is None or _is_endpoint(url):
        return url
    faults.add(
        node,
        FaultRule.INVALID_URL,
        f"{quoted(url)} is not the address of an endpoint.",
        "Write a http or https address without user name, query and fragment.",
    )
    return None


def _is_endpoint(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    return (
        parts.scheme in {"http", "https"}
        and bool(parts.hostname)
        and port != 0
        and "@" not in parts.netloc
        and not parts.query
        and not parts.fragment
        and url.isprintable()
        and " " not in url
    )
