"""Owns the content revision: one hash for what a catalog says, however it is written down."""

import hashlib
import json
from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from tierwise_server.catalog.limits import SpendLimit
from tierwise_server.catalog.model import BackgroundGroup, Catalog, LearnedSettings, Tier
from tierwise_server.catalog.registry import Model, Price
from tierwise_server.catalog.rules import Rule
from tierwise_server.evidence.rows import EvidenceRow

# Changes when the same content has to get another revision, since it means something else.
_FORM: Final = "tierwise-catalog-1"


def content_revision(catalog: Catalog) -> str:
    """Returns the hex hash of everything that decides or is shown.

    The order of tiers, tasks, groups, utterances, rules and models counts, since positions are part
    of what is served. Comments, formatting, locations, cases, paraphrases and what `check` may
    ignore don't.
    """
    content: dict[str, object] = {
        "form": _FORM,
        "tiers": [_tier(tier) for tier in catalog.tiers],
        "default_tier": catalog.default_tier,
        "encoder": catalog.encoder,
        "threshold": catalog.threshold,
        "margin": catalog.margin,
        "tie": catalog.tie,
        "languages": catalog.languages,
        "override": [rule_content(rule) for rule in catalog.rules.override],
        "default": [rule_content(rule) for rule in catalog.rules.default],
        "models": [_model(model) for model in catalog.models],
        "baseline_model": catalog.baseline_model,
    }
    if catalog.background:
        content["background"] = [_group(group) for group in catalog.background]
    if catalog.calibration is not None:
        content["calibration"] = [catalog.calibration.id, catalog.stale_calibration]
    if catalog.spend_limits:
        content["spending"] = [_spend_limit(limit) for limit in catalog.spend_limits]
    if catalog.learned != LearnedSettings():
        learned = catalog.learned
        content["learned"] = [learned.bar, learned.minimum_prompts, learned.show]
    if catalog.evidence:
        content["evidence"] = _evidence(catalog.evidence)
    if catalog.call_limits:
        content["calls"] = [
            [one.caller, one.per_second, one.concurrent] for one in catalog.call_limits
        ]
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _tier(tier: Tier) -> object:
    return [
        tier.id,
        tier.description,
        tier.threshold,
        [
            [task.id, task.description, task.threshold, [one.text for one in task.utterances]]
            for task in tier.tasks
        ],
    ]


def _group(group: BackgroundGroup) -> object:
    return [group.id, group.description, [one.text for one in group.utterances]]


def _evidence(rows: Iterable[EvidenceRow]) -> str:
    """Returns the hash of what counts of the rows, in whatever order they are."""
    lines = sorted(
        json.dumps(
            [row.prompt.strip(), row.embedding.hex(), row.encoder, row.model, row.tier, row.quality]
        )
        for row in rows
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def rule_content(rule: Rule) -> object:
    """Returns what a rule says, as it is hashed; its place in the file is left out."""
    when, then = rule.when, rule.then
    return [
        rule.name,
        list(when.keywords),
        when.regex,
        _sorted(when.task_tags),
        _sorted(when.languages),
        when.min_characters,
        when.max_characters,
        _sorted(when.attachments),
        [then.tier, then.task, then.model],
        _sorted(then.required_capabilities),
    ]


def _model(model: Model) -> object:
    return [
        model.id,
        model.provider,
        model.name,
        model.tier,
        model.price_source,
        None if model.price is None else _price(model.price),
        model.context_window,
        model.max_output_tokens,
        _sorted(model.capabilities),
        model.quality,
        [model.limits.requests_per_minute, model.limits.tokens_per_minute],
        dict(model.labels),
        model.base_url,
        model.weight,
        model.token_family,
    ]


def _spend_limit(limit: SpendLimit) -> object:
    return [limit.caller, limit.per, limit.nano_usd, limit.at_limit, limit.tier]


def _price(price: Price) -> object:
    caching = (price.cached_input, price.cache_write)
    amounts = (price.input, price.output, *caching, price.per_call)
    return [None if amount is None else _plain(amount) for amount in amounts]


def _plain(amount: Decimal) -> str:
    # 0.6 and 0.60 are the same price.
    return f"{amount.normalize():f}"


def _sorted(words: Iterable[str]) -> list[str]:
    return sorted(str(word) for word in words)
