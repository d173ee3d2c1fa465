"""Counts what became of decisions: attempts, tokens, cost and saving, as outcomes tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tierwise_server.ledger.records import Origin
from tierwise_server.planning.error_classes import ErrorClass
from tierwise_server.planning.plan import StepKind

if TYPE_CHECKING:
    from tierwise_server.ledger.money import Tokens
    from tierwise_server.ledger.pricing import SettledAttempt, SettledOutcome
    from tierwise_server.snapshot import Snapshot
    from tierwise_server.telemetry.metrics import Metrics

OTHER: Final = "_other"
"""Stands for what the catalog in service does not know. No id begins so."""

_ROUTERLESS_CAUSES: Final = {1: "unavailable", 2: "timeout", 3: "overloaded"}
"""By their numbers in the contract."""

_ERRORS: Final = {int(one): one.name.lower() for one in ErrorClass} | {0: "none"}
_STEPS: Final = {int(one): one.name.lower() for one in StepKind}


@dataclass(frozen=True, slots=True)
class KnownNames:
    """What labels may name of one catalog."""

    tiers: frozenset[str]
    models: frozenset[str]


def known_names(*snapshots: Snapshot) -> KnownNames:
    """Returns what labels may name of snapshots that decide under one catalog's name."""
    return KnownNames(
        tiers=frozenset(tier for one in snapshots for tier in one.models.tier_ids),
        models=frozenset(model for one in snapshots for model in one.models.position_of),
    )


class OutcomeCounting:
    """Counts outcomes that are new. May be called from any one thread at a time."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._known: Mapping[str, KnownNames] = {}

    def know(self, catalog: str, names: KnownNames) -> None:
        """Notes what a catalog in service has; the first one is the default."""
        self._known = {**self._known, catalog: names}

    def count(self, outcomes: Iterable[SettledOutcome]) -> None:
        """Counts outcomes with their costs."""
        for one in outcomes:
            self._count(one)

    def _count(self, outcome: SettledOutcome) -> None:
        record, metrics = outcome.record, self._metrics
        catalog, names = self._names(record.catalog)
        if record.origin is Origin.ROUTERLESS:
            cause = _ROUTERLESS_CAUSES.get(record.routerless_cause, OTHER)
            metrics.routerless.labels(catalog, cause).inc()
        if not outcome.attempts:
            return
        tier = record.tier if record.tier in names.tiers else OTHER
        ending = "answered" if outcome.answer is not None else _error(outcome.attempts[-1])
        metrics.prompts.labels(catalog, tier, _fallback(outcome), ending).inc()
        for attempt in outcome.attempts:
            self._count_attempt(catalog, names, attempt, outcome.answer)
        self._compare(catalog, outcome)

    def _names(self, catalog: str) -> tuple[str, KnownNames]:
        known = self._known
        if not catalog and known:
            catalog = next(iter(known))
        names = known.get(catalog)
        return (catalog, names) if names is not None else (OTHER, _NOTHING)

    def _count_attempt(
        self,
        catalog: str,
        names: KnownNames,
        attempt: SettledAttempt,
        answer: SettledAttempt | None,
    ) -> None:
        record, metrics = attempt.record, self._metrics
        model = record.model_id if record.model_id in names.models else OTHER
        tier = attempt.tier if attempt.tier in names.tiers else OTHER
        step = _STEPS.get(record.step_kind, OTHER)
        metrics.attempts.labels(catalog, tier, model, step, _error(attempt)).inc()
        if not record.error_class and record.duration_us is not None:
            metrics.attempt_seconds.labels(catalog, model).observe(record.duration_us / 1e6)
        if record.tokens is not None:
            for kind, count in _token_kinds(record.tokens):
                metrics.tokens.labels(catalog, tier, model, kind).inc(count)
        if attempt.cost_nano_usd is None:
            metrics.unpriced.labels(catalog, tier, model).inc()
        else:
            result = "answer" if attempt is answer else "unsuccessful"
            metrics.cost.add(attempt.cost_nano_usd, catalog, tier, model, result)
        if attempt.is_another_model:
            metrics.mismatches.labels(catalog, tier, model).inc()

    def _compare(self, catalog: str, outcome: SettledOutcome) -> None:
        """Adds to both sides of the saving, where every price of an answered prompt is known."""
        baseline = outcome.counterfactual_nano_usd
        costs = [one.cost_nano_usd for one in outcome.attempts]
        if baseline is None or None in costs:
            return
        self._metrics.baseline_cost.add(baseline, catalog)
        self._metrics.compared_cost.add(sum(cost for cost in costs if cost is not None), catalog)


_NOTHING: Final = KnownNames(tiers=frozenset(), models=frozenset())


def _fallback(outcome: SettledOutcome) -> str:
    farthest = max(one.record.step_kind for one in outcome.attempts)
    return _STEPS[farthest] if farthest in (StepKind.ALTERNATE, StepKind.ESCALATION) else "none"


def _error(attempt: SettledAttempt) -> str:
    return _ERRORS.get(attempt.record.error_class, OTHER)


def _token_kinds(tokens: Tokens) -> Iterable[tuple[str, int]]:
    """Yields the kinds of tokens, none of which is part of another."""
    cached = min(tokens.cached_input, tokens.input)
    written = min(tokens.cache_write, tokens.input - cached)
    reasoning = min(tokens.reasoning, tokens.output)
    kinds = (
        ("input", tokens.input - cached - written),
        ("cached_input", cached),
        ("cache_write", written),
        ("output", tokens.output - reasoning),
        ("reasoning", reasoning),
    )
    return (one for one in kinds if one[1])
