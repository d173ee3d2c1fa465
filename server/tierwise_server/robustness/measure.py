"""How often a change that should not matter moves a prompt to another tier.

A *flip* is another tier than before; an *upgrade* is the highest tier where it was a lower one. The
prompts are a catalog's single-prompt cases, and its paraphrases.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from tierwise_server.catalog.model import Catalog
from tierwise_server.deciding.deciding_text import of_prompt
from tierwise_server.deciding.request import RoutingRequest
from tierwise_server.questions import case_question
from tierwise_server.robustness.changes import Change, greeted, with_typos
from tierwise_server.robustness.injections import HELD_OUT, KNOWN
from tierwise_server.routing import Query

SEED: Final = 20261122
TYPO_ROUNDS: Final = 3
"""Times that typos are thrown over all prompts, elsewhere each time."""

_INJECTED: Final = {"known": KNOWN, "held-out": HELD_OUT}

Decide = Callable[[Sequence[Query]], Sequence[str]]
"""Returns the tier of each query."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steadiness:
    """What became of prompts under one kind of change."""

    name: str
    count: int
    """Changed prompts that could have failed."""
    failures: int
    """Those that did."""
    limit: float
    """Share of failures up to which all is well."""

    @property
    def share(self) -> float:
        """Share of failures; 0 where nothing could fail."""
        return self.failures / self.count if self.count else 0.0

    @property
    def met(self) -> bool:
        """Whether the share is within its limit."""
        return self.share <= self.limit


def steadiness(
    catalog: Catalog, decide: Decide, *, phrases_each: int | None = None
) -> Iterator[Steadiness]:
    """Measures one kind of change after the other.

    Args:
        catalog: Where prompts and paraphrases come from.
        decide: Decides with that catalog.
        phrases_each: How many injected phrases of a group, drawn by a fixed seed, each prompt is
            tried with; None means all.
    """
    queries = [case_question(case).query for case in catalog.cases if case.prompt is not None]
    before = decide(queries)
    for name, rounds, change, limit in _changes(random.Random(SEED)):  # noqa: S311 - repeatable
        flips = 0
        for _ in range(rounds):
            after = decide([changed(query, change(query.request.text)) for query in queries])
            flips += sum(one != other for one, other in zip(before, after, strict=True))
        yield Steadiness(
            name=f"flips by {name}", count=rounds * len(queries), failures=flips, limit=limit
        )
    yield from _paraphrases(catalog, decide)
    highest = str(catalog.tiers[-1].id)
    below = [one for one, tier in zip(queries, before, strict=True) if tier != highest]
    for group in _INJECTED:
        yield from _injections(catalog, decide, below, group, phrases_each)


def changed(query: Query, text: str) -> Query:
    """Returns the query with another text."""
    return replace(
        query,
        request=replace(query.request, text=text, character_count=len(text)),
        embedded_text=of_prompt(text).embedded_text,
    )


def _changes(dice: random.Random) -> tuple[tuple[str, int, Change, float], ...]:
    return (
        ("typos", TYPO_ROUNDS, lambda text: with_typos(text, dice), 0.04),
        ("greeting", 1, lambda text: greeted(text, dice), 0.02),
        ("upper case", 1, str.upper, 0.0),
    )


def _paraphrases(catalog: Catalog, decide: Decide) -> Iterator[Steadiness]:
    """Yields flips between two wordings, and translations that fall below the default tier."""
    pairs = [one for one in catalog.paraphrases if one.language is None]
    if pairs:
        before = decide([_query(one.prompt) for one in pairs])
        after = decide([_query(one.reworded) for one in pairs])
        flips = sum(one != other for one, other in zip(before, after, strict=True))
        yield Steadiness(name="flips by paraphrase", count=len(pairs), failures=flips, limit=0.05)
    # Only languages that the encoder does not know well; the others are decided like any prompt.
    foreign = [one for one in catalog.paraphrases if one.language not in (None, *catalog.languages)]
    if foreign:
        ranks = {str(tier.id): tier.rank for tier in catalog.tiers}
        default = ranks[catalog.default_tier]
        tiers = decide([_query(one.reworded) for one in foreign])
        yield Steadiness(
            name="below the default tier in another language",
            count=len(foreign),
            failures=sum(ranks[tier] < default for tier in tiers),
            limit=0.0,
        )


def _injections(
    catalog: Catalog,
    decide: Decide,
    below: Sequence[Query],
    group: str,
    phrases_each: int | None,
) -> Iterator[Steadiness]:
    """Yields how often phrases lift prompts of lower tiers to the highest."""
    highest = str(catalog.tiers[-1].id)
    phrases = _INJECTED[group]
    for place, listed in (("prefix", phrases.prefixes), ("suffix", phrases.suffixes)):
        dice = random.Random(SEED)  # noqa: S311 - repeatable, not secret
        most = len(listed) if phrases_each is None else min(phrases_each, len(listed))
        queries = []
        for query in below:
            text = query.request.text
            for phrase in dice.sample(listed, most):
                queries.append(
                    changed(query, phrase + text if place == "prefix" else text + phrase)
                )
        yield Steadiness(
            name=f"upgrades by {group} {place}",
            count=len(queries),
            failures=sum(tier == highest for tier in decide(queries)),
            limit=0.02,
        )


def _query(text: str) -> Query:
    return Query(
        request=RoutingRequest(text=text, character_count=len(text)),
        embedded_text=of_prompt(text).embedded_text,
    )
