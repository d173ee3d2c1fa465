"""What the texts of a catalog show by themselves, without vectors."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

import numpy as np

from tierwise_server.catalog.faults import quoted
from tierwise_server.catalog.ids import Location
from tierwise_server.catalog.lint_rules import LintRule
from tierwise_server.catalog.model import Catalog, Utterance
from tierwise_server.catalog.settings_file import SETTINGS_FILE
from tierwise_server.deciding.language import detect_language
from tierwise_server.linting.findings import Finding, Severity, found
from tierwise_server.linting.surface import FOLDS, NAMES, surface_figures

FEW_UTTERANCES: Final = 5
"""Below this, the scorer can hardly tell a task from its neighbours: on CLINC150 accuracy falls by
3.5 points from ten utterances a task to five, and by more than ten from five to two."""

UNEVEN_FACTOR: Final = 3
"""A tier that has so many times more utterances than another wins the words that both use."""

LEAST_SHARE_OF_LANGUAGE: Final = 0.02
"""Least share of a language, that the catalog says it handles, in its utterances."""

_WORD: Final = re.compile(r"\w+")
_Z_ONE_SIDED_95: Final = 1.645


def text_findings(catalog: Catalog) -> Iterator[Finding]:
    """Yields what can be found without an encoder."""
    yield from _thin_tasks(catalog)
    yield from _untested_tasks(catalog)
    yield from _uneven_tiers(catalog)
    yield from _same_words(catalog)
    yield from _surface_shortcut(catalog)
    yield from _languages(catalog)


def _thin_tasks(catalog: Catalog) -> Iterator[Finding]:
    for task in catalog.tasks:
        count = len(task.utterances)
        if count < FEW_UTTERANCES:
            yield found(
                LintRule.THIN_TASK,
                Severity.WARNING,
                task.location,
                f"Task {task.id} has {count} utterance{'s' if count > 1 else ''}.",
                f"Add at least {FEW_UTTERANCES - count}, different from each other;"
                " `tierwise suggest` finds some among logged prompts.",
            )


def _untested_tasks(catalog: Catalog) -> Iterator[Finding]:
    tested = {case.task for case in catalog.cases}
    if not any(tested):
        return
    for task in catalog.tasks:
        if task.id not in tested:
            yield found(
                LintRule.UNTESTED_TASK,
                Severity.NOTE,
                task.location,
                f"No case expects task {task.id}, so nothing shows when it breaks.",
                f"Add cases with `task: {task.id}` under cases/.",
            )


def _uneven_tiers(catalog: Catalog) -> Iterator[Finding]:
    counts = {tier: sum(len(task.utterances) for task in tier.tasks) for tier in catalog.tiers}
    largest = max(counts, key=lambda tier: counts[tier])
    for tier, count in counts.items():
        if count * UNEVEN_FACTOR < counts[largest]:
            yield found(
                LintRule.UNEVEN_TIERS,
                Severity.NOTE,
                tier.location,
                f"Tier {tier.id} has {count} utterances and tier {largest.id} {counts[largest]}, so"
                f" words that both use count for {largest.id}.",
                f"Add utterances to {tier.id}.",
                [largest.location],
            )


def _same_words(catalog: Catalog) -> Iterator[Finding]:
    """Yields utterances of two tiers, or utterances and cases, that use the same words."""
    known: dict[tuple[str, ...], Utterance] = {}
    for one in catalog.utterances:
        tier = catalog.tasks[one.task_index].tier
        first = known.setdefault(_words(one.text), one)
        other = catalog.tasks[first.task_index]
        if other.tier != tier:
            yield found(
                LintRule.SAME_WORDS,
                Severity.WARNING,
                one.location,
                f"{quoted(one.text)} of tier {tier} has the words of an utterance of"
                f" {other.id} in tier {other.tier} at {first.location}.",
                "Keep the one that is right, or say in both what makes the difference.",
                [first.location],
            )
    for case in catalog.cases:
        same = known.get(_words(case.prompt or ""))
        if same is not None:
            yield found(
                LintRule.SAME_WORDS,
                Severity.WARNING,
                case.location,
                f"The case {quoted(case.prompt or '')} has the words of the utterance at"
                f" {same.location}, so it measures nothing.",
                "Word one of the two another way.",
                [same.location],
            )


def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(text.casefold()))


def _surface_shortcut(catalog: Catalog) -> Iterator[Finding]:
    ranks = [
        catalog.tier_by_id[catalog.tasks[one.task_index].tier].rank for one in catalog.utterances
    ]
    labels = np.array(ranks, dtype=np.int64)
    counts = np.bincount(labels, minlength=len(catalog.tiers))
    if len(counts) < 2 or counts.min() < FOLDS:  # noqa: PLR2004
        return
    figures = surface_figures([one.text for one in catalog.utterances], labels)
    # Few utterances reach any share by chance.
    chance = math.sqrt(figures.accuracy * (1.0 - figures.accuracy) / len(labels))
    if figures.accuracy - _Z_ONE_SIDED_95 * chance <= figures.largest_share:
        return
    if figures.accuracy > figures.most:
        medians = ", ".join(
            f"{tier.id} {figures.medians[tier.rank, figures.telling]:.3g}" for tier in catalog.tiers
        )
        yield found(
            LintRule.SURFACE_SHORTCUT,
            Severity.WARNING,
            Location(file=SETTINGS_FILE, line=1),
            f"Length, case and punctuation alone tell the tier of {figures.accuracy:.0%} of the"
            f" utterances (at most {figures.most:.0%} is well; guessing tells"
            f" {figures.largest_share:.0%}).",
            f"Even out the tiers; most telling: {NAMES[figures.telling]} (median {medians}).",
        )


def _languages(catalog: Catalog) -> Iterator[Finding]:
    detected = [detect_language(one.text) for one in catalog.utterances]
    counts = Counter(detected)
    several = len(catalog.languages) > 1
    for language in catalog.languages if several else ():
        share = counts[language] / len(detected)
        if share < LEAST_SHARE_OF_LANGUAGE:
            yield found(
                LintRule.MISSING_LANGUAGE,
                Severity.WARNING,
                Location(file=SETTINGS_FILE, line=1),
                f"`languages` lists {language}, but {counts[language]} of {len(detected)}"
                " utterances are in it.",
                f"Add utterances in {language}, or take it off the list: its prompts then go to"
                " the default tier.",
            )
    for one, seen in zip(catalog.utterances, detected, strict=True):
        if seen is not None and seen not in catalog.languages:
            yield found(
                LintRule.UNLISTED_LANGUAGE,
                Severity.NOTE,
                one.location,
                f"{quoted(one.text)} reads like {seen}, and prompts in {seen} are never"
                " compared with utterances.",
                f"Add {seen} to `languages` in {SETTINGS_FILE}, or remove the utterance.",
            )
