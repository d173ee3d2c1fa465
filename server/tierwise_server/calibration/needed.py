"""From evidence to labels: the cheapest tier whose answers to a prompt were good enough."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tierwise_server.evidence.rows import EvidenceRow


class NeededTier(NamedTuple):
    """A prompt with the tier that it needs."""

    prompt: str
    tier: str
    source: str
    """File and line of its first row."""


def needed_tiers(
    rows: Iterable[EvidenceRow], tiers: Sequence[str], bar: float
) -> tuple[list[NeededTier], int]:
    """Returns the prompts whose tier the evidence tells, and how many it does not tell.

    A tier is told where its mean quality reaches the bar, and those of all cheaper tiers are known
    and fall short of it. Where all tiers fall short, none is better than another, and none is told.

    Args:
        rows: The evidence. Rows without a prompt, which hold a vector alone, are passed over.
        tiers: Ids of the tiers, cheapest first.
        bar: Quality that is good enough, from 0 to 1.
    """
    qualities: dict[str, dict[str, list[float]]] = {}
    sources: dict[str, str] = {}
    for row in rows:
        prompt = row.prompt.strip()
        if prompt:
            sources.setdefault(prompt, f"{row.file}:{row.line}")
            qualities.setdefault(prompt, {}).setdefault(row.tier, []).append(row.quality)
    told = []
    for prompt, by_tier in qualities.items():
        means = {tier: sum(values) / len(values) for tier, values in by_tier.items()}
        tier = _needed(means, tiers, bar)
        if tier is not None:
            told.append(NeededTier(prompt, tier, sources[prompt]))
    return told, len(qualities) - len(told)


def _needed(means: dict[str, float], tiers: Sequence[str], bar: float) -> str | None:
    for tier in tiers:
        quality = means.get(tier)
        if quality is None:
            return None
        if quality >= bar:
            return tier
    return None
