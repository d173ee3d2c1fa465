"""Shows, when metrics are read, how models are, what callers spent, how candidates compare."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from tierwise_server.arms import Arm
from tierwise_server.candidates.tally import NotCompared
from tierwise_server.candidates.trial import Trial
from tierwise_server.fleet.breaker import Phase
from tierwise_server.fleet.monitor import FleetMonitor
from tierwise_server.planning.prices import NANO_USD_PER_USD
from tierwise_server.spending.control import SpendControl

_MODEL = ("catalog", "model")
_ACCOUNT = ("catalog", "caller", "period")


class FleetCollector(Collector):
    """Health of the models that outcomes told of. Models of the catalogs in service only."""

    def __init__(self, monitor: FleetMonitor, registry: CollectorRegistry) -> None:
        self._monitor = monitor
        registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """Yields the metrics."""
        available = _gauge(
            "model_available",
            "1 while plans call the model; 0 while it rests or is probed.",
            _MODEL,
        )
        errors = _gauge(
            "model_error_ratio", "Failures for a fault of the model among its last calls.", _MODEL
        )
        latency = _gauge("model_latency_seconds", "Typical time of a call, recently.", _MODEL)
        first = _gauge(
            "model_first_token_seconds", "Typical time to the first part of an answer.", _MODEL
        )
        requests = _gauge(
            "model_remaining_requests", "Requests left of the provider's rate limit.", _MODEL
        )
        tokens = _gauge(
            "model_remaining_tokens", "Tokens left of the provider's rate limit.", _MODEL
        )
        request_rate = _gauge("model_requests_per_minute", "Calls reported in a minute.", _MODEL)
        token_rate = _gauge("model_tokens_per_minute", "Tokens reported in a minute.", _MODEL)
        for catalog, model, observed in self._monitor.observed():
            for family, value in (
                (available, float(observed.phase is Phase.CLOSED)),
                (errors, observed.error_share),
                (latency, observed.latency_s),
                (first, observed.first_token_s),
                (requests, observed.remaining_requests),
                (tokens, observed.remaining_tokens),
                (request_rate, observed.requests_per_minute),
                (token_rate, observed.tokens_per_minute),
            ):
                if value is not None:
                    family.add_metric([catalog, model], value)
        yield from (available, errors, latency, first, requests, tokens, request_rate, token_rate)
        yield CounterMetricFamily(
            "tierwise_fleet_views",
            "Times that what plans know of the models changed.",
            self._monitor.view_count,
        )


class SpendCollector(Collector):
    """What the callers that have limits spent in the present period."""

    def __init__(self, spending: SpendControl, registry: CollectorRegistry) -> None:
        self._spending = spending
        registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """Yields the metrics. The empty caller stands for all callers together."""
        spent = _gauge("spend_usd", "Reported cost in the present day or month, in UTC.", _ACCOUNT)
        reserved = _gauge(
            "spend_reserved_usd", "Estimated cost of decisions without an outcome.", _ACCOUNT
        )
        unpriced = _gauge(
            "spend_unpriced_attempts", "Reported calls of unknown cost, in no sum.", _ACCOUNT
        )
        limits = _gauge("spend_limit_usd", "What the caller may spend.", (*_ACCOUNT, "at_limit"))
        for state in self._spending.states():
            labels = [state.account.catalog, state.account.caller, str(state.account.per)]
            spent.add_metric(labels, state.spent_nano_usd / NANO_USD_PER_USD)
            reserved.add_metric(labels, state.reserved_nano_usd / NANO_USD_PER_USD)
            unpriced.add_metric(labels, state.unpriced_attempts)
            for limit in state.limits:
                limits.add_metric([*labels, str(limit.at_limit)], limit.nano_usd / NANO_USD_PER_USD)
        yield from (spent, reserved, unpriced, limits)
        effects = CounterMetricFamily(
            "tierwise_spend_limit_decisions",
            "Decisions and refusals that a reached spend limit concerned.",
            labels=("catalog", "caller", "at_limit"),
        )
        for (catalog, caller, at_limit), count in list(self._spending.effects.items()):
            effects.add_metric([catalog, caller, str(at_limit)], count)
        yield effects


class TrialCollector(Collector):
    """How candidates compare. Counts begin anew when a revision of either side changes."""

    def __init__(self, trials: Mapping[str, Trial], registry: CollectorRegistry) -> None:
        self._trials = trials
        registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """Yields the metrics."""
        decisions = _counter(
            "candidate_decisions",
            "Decisions that were made by both, by the tiers of the catalog and its candidate, and"
            " by the catalog's task.",
            *("catalog", "task", "tier", "candidate_tier"),
        )
        costs = _counter(
            "candidate_estimated_cost_usd",
            "Estimated cost of the decisions that both know it of, by whose choice of model: live"
            " or candidate.",
            *("catalog", "by"),
        )
        uncompared = _counter(
            "candidate_uncompared_decisions",
            "Decisions that were not made twice, by reason.",
            *("catalog", "reason"),
        )
        arms = _counter(
            "canary_decisions",
            "Decisions that callers got while they were shared, by who made them: live or"
            " candidate.",
            *("catalog", "arm"),
        )
        for catalog, trial in self._trials.items():
            tally = trial.compared
            if tally is None:
                continue
            live_nano_usd = candidate_nano_usd = 0
            for cell, counts in list(tally.cells.items()):
                decisions.add_metric([catalog, *cell], counts.decisions)
                live_nano_usd += counts.cost_nano_usd
                candidate_nano_usd += counts.candidate_cost_nano_usd
            costs.add_metric([catalog, "live"], live_nano_usd / NANO_USD_PER_USD)
            costs.add_metric([catalog, "candidate"], candidate_nano_usd / NANO_USD_PER_USD)
            for reason in NotCompared:
                uncompared.add_metric([catalog, str(reason)], tally.not_compared[reason])
            for arm in Arm:
                arms.add_metric([catalog, arm.name.lower()], tally.arms[arm])
        yield from (decisions, costs, uncompared, arms)


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"tierwise_{name}", text, labels=labels)


def _gauge(name: str, text: str, labels: tuple[str, ...]) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"tierwise_{name}", text, labels=labels)
