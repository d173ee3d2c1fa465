"""What a calibration is bound to, and whether a catalog still is that."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from tierwise_server.catalog.calibration import CASES, EVIDENCE, Bound
from tierwise_server.catalog.cases import Case
from tierwise_server.catalog.model import Catalog
from tierwise_server.catalog.revision import rule_content

HASH_DIGITS = 16
"""Hex digits of each hash: 64 bits tell any number of edits apart."""


def utterances_hash(catalog: Catalog) -> str:
    """Returns the hash of everything that a scorer is fitted to, in its order."""
    tiers = [
        [tier.id, [[task.id, [one.text for one in task.utterances]] for task in tier.tasks]]
        for tier in catalog.tiers
    ]
    background = [
        [group.id, [one.text for one in group.utterances]] for group in catalog.background
    ]
    return digest([tiers, background])


def settings_hash(catalog: Catalog, *, with_thresholds: bool) -> str:
    """Returns the hash of what turns scores into decisions, rules included.

    Args:
        catalog: The catalog.
        with_thresholds: Whether thresholds count: where the calibration has none of its own.
    """
    thresholds = [catalog.threshold_of(one) for one in catalog.tasks] if with_thresholds else []
    rules = [
        [rule_content(rule) for rule in rules]
        for rules in (catalog.rules.override, catalog.rules.default)
    ]
    return digest(
        [catalog.default_tier, catalog.margin, catalog.tie, catalog.languages, rules, thresholds]
    )


def cases_hash(cases: Sequence[Case]) -> str:
    """Returns the hash of what cases ask and expect; their order, places and tags don't count."""
    rows = [
        [
            case.prompt,
            [[one.role, one.text] for one in case.messages],
            case.tier,
            case.task,
            case.language,
            case.previous_tier,
        ]
        for case in cases
    ]
    return digest(sorted(rows, key=json.dumps))


def evidence_hash(catalog: Catalog) -> str:
    """Returns the hash of what the evidence says of prompts and tiers, and of the bar."""
    rows = [[one.prompt.strip(), one.tier, one.quality] for one in catalog.evidence if one.prompt]
    return digest([catalog.learned.bar, sorted(rows)])


def digest(value: object) -> str:
    """Returns the hash of a value of lists, texts and numbers."""
    canonical = json.dumps(value, separators=(",", ":"))
    # With a prefix, since YAML would take sixteen digits for a number.
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()[:HASH_DIGITS]}"


def stale_bounds(catalog: Catalog, encoder_id: str, scorer_id: str) -> tuple[Bound, ...]:
    """Returns what a catalog's calibration no longer fits; nothing without a calibration.

    Data in a file outside the catalog's folder is not compared: a server has no such file.
    """
    if catalog.calibration is None:
        return ()
    bound = catalog.calibration.binding
    present = {
        Bound.ENCODER: (bound.encoder, encoder_id),
        Bound.SCORER: (bound.scorer, scorer_id),
        Bound.UTTERANCES: (bound.utterances, utterances_hash(catalog)),
        Bound.SETTINGS: (
            bound.settings,
            settings_hash(catalog, with_thresholds=catalog.calibration.threshold is None),
        ),
    }
    if bound.data_source == CASES:
        present[Bound.DATA] = (bound.data, cases_hash(catalog.cases))
    if bound.data_source == EVIDENCE:
        present[Bound.DATA] = (bound.data, evidence_hash(catalog))
    return tuple(part for part, (fitted, now) in present.items() if fitted != now)
