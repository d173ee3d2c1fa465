"""Every metric of the server: its name, labels, buckets and meaning, in one place.

Names and labels are stable: dashboards and alert rules rest on them. The values of every label come
from the contract or from the catalogs in service, never from a caller, so that nobody can make
series without end.
"""

from __future__ import annotations

from typing import Any, Final

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from tierwise_server.telemetry.tallies import CounterTally, HistogramTally, MoneyCounter

STAGE_BUCKETS_S: Final = (
    *(0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256),
    *(1.0, 4.0),
)
"""Of what happens in the server."""

CALL_BUCKETS_S: Final = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0)
"""Of calls of models."""

RELOAD_BUCKETS_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)

SCORE_BUCKETS: Final = tuple(step / 20 for step in range(-4, 21))
"""Of cosines and what is made of them: every 0.05 from -0.2 to 1."""


class Metrics:
    """The metrics of one server, in a registry of their own.

    Counters show with `_total` at the end of their names.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._add_calls()
        self._add_decisions()
        self._add_catalogs()
        self._add_outcomes()
        self._add_ledger()

    def _add_calls(self) -> None:
        self.calls = self._tally("calls", "Calls by method and status code.", "method", "code")
        self.call_seconds = self._histogram_tally(
            "call_seconds", "Time of a call in the service.", STAGE_BUCKETS_S, "method"
        )
        self.queue_depth = self._gauge(
            "encoder_queue_depth", "Prompts that wait for an encoding lane."
        )
        self.queue_limit = self._gauge(
            "encoder_queue_limit", "Prompts that may wait before calls are refused."
        )

    def _add_decisions(self) -> None:
        self.decisions = self._tally(
            "decisions",
            "Decisions by tier, what decided, and model; explanations are not counted.",
            *("catalog", "tier", "kind", "model"),
        )
        self.without_index = self._tally(
            "decisions_without_index",
            "Decisions, of those above, that no utterance was compared for, by what decided.",
            *("catalog", "kind"),
        )
        self.task_decisions = self._tally(
            "task_decisions",
            "Decisions by task; without one where none was chosen or nothing may be kept.",
            *("catalog", "tier", "task"),
        )
        self.stage_seconds = self._histogram_tally(
            "stage_seconds",
            "Time of a decision by stage: queue, encoding, scoring and total.",
            STAGE_BUCKETS_S,
            "stage",
        )
        self.scores = self._histogram_tally(
            "score",
            "Score of the best tier, of decisions that compared the prompt with utterances.",
            SCORE_BUCKETS,
            "catalog",
        )
        self.similarities = self._histogram_tally(
            "similarity",
            "Cosine of the prompt and the nearest utterance of the best task.",
            SCORE_BUCKETS,
            "catalog",
        )
        self.vectors = self._tally(
            "vectors", "Vectors by where they came from: cache, encoder or caller.", "source"
        )

    def _add_catalogs(self) -> None:
        self.reloads = self._counter(
            "reloads",
            "Looks at changed catalog files by result: loaded or faulty.",
            *("catalog", "result"),
        )
        self.reload_seconds = self._histogram(
            "reload_seconds", "Time to put changed files into service.", RELOAD_BUCKETS_S, "catalog"
        )
        self.faults = self._gauge(
            "catalog_faults",
            "Faults in the files of a catalog; above 0 means that an older revision is served.",
            "catalog",
        )
        self.stale_calibration = self._gauge(
            "catalog_stale_calibration",
            "1 where a catalog no longer is what it was calibrated on: encoder, scorer, utterances,"
            " settings or data.",
            *("catalog", "part"),
        )
        self.load_time = self._gauge(
            "catalog_load_timestamp_seconds", "When the revision in service was loaded.", "catalog"
        )
        self.catalog = Info(
            "tierwise_catalog",
            "The revision in service, with its encoder and scorer; always 1.",
            ("catalog",),
            registry=self.registry,
        )

    def _add_outcomes(self) -> None:
        self.outcomes = self._counter(
            "outcomes", "Reported outcomes by result: accepted, duplicate or rejected.", "result"
        )
        self.prompts = self._counter(
            "prompts",
            "Prompts with a reported outcome, by decided tier, by the farthest step of the plan"
            " (none, alternate or escalation), and by ending: answered, or the last error class.",
            *("catalog", "tier", "fallback", "ending"),
        )
        self.routerless = self._counter(
            "routerless_decisions",
            "Reported decisions that a client made because no router answered, by cause.",
            *("catalog", "cause"),
        )
        self.attempts = self._counter(
            "attempts",
            "Reported calls of models by step of the plan and error class; none is success.",
            *("catalog", "tier", "model", "step", "error_class"),
        )
        self.attempt_seconds = self._histogram(
            "attempt_seconds",
            "Reported time of calls of models that succeeded.",
            CALL_BUCKETS_S,
            *("catalog", "model"),
        )
        self.tokens = self._counter(
            "tokens",
            "Reported tokens by kind; the kinds don't overlap: input, cached_input, cache_write,"
            " output and reasoning.",
            *("catalog", "tier", "model", "kind"),
        )
        self._add_money()

    def _add_money(self) -> None:
        self.cost = self._money(
            "cost_usd",
            "Cost of reported attempts, by whether they gave the answer or not: answer or"
            " unsuccessful.",
            *("catalog", "tier", "model", "result"),
        )
        self.unpriced = self._counter(
            "unpriced_attempts",
            "Reported attempts whose cost is not known; they are in no sum of money.",
            *("catalog", "tier", "model"),
        )
        self.baseline_cost = self._money(
            "baseline_cost_usd",
            "What answered prompts would have cost on the baseline model, where every price is"
            " known.",
            "catalog",
        )
        self.compared_cost = self._money(
            "compared_cost_usd",
            "What the same prompts did cost, all attempts included; the difference is the saving.",
            "catalog",
        )
        self.mismatches = self._counter(
            "served_model_mismatches",
            "Attempts that another model answered than was asked for.",
            *("catalog", "tier", "model"),
        )

    def _add_ledger(self) -> None:
        self.ledger_up = self._gauge(
            "ledger_available",
            "1 while the ledger's database can be written, else 0; 0 also without a ledger.",
        )
        self.ledger_queue = self._gauge(
            "ledger_queue_depth", "Decisions that wait in memory to be written to the ledger."
        )
        self.ledger_rows = self._counter(
            "ledger_rows",
            "What was written to the ledger: decisions and outcomes, duplicates included.",
            "kind",
        )
        self.ledger_dropped = self._counter(
            "ledger_dropped_decisions",
            "Decisions that the ledger lost: too many waited, or the database refused them.",
        )
        self.ledger_seconds = self._histogram(
            "ledger_commit_seconds", "Time to bring a batch to disk.", STAGE_BUCKETS_S
        )

    def _tally(self, name: str, text: str, *labels: str) -> CounterTally:
        return CounterTally(f"tierwise_{name}", text, labels, self.registry)

    def _histogram_tally(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> HistogramTally:
        return HistogramTally(f"tierwise_{name}", text, buckets, labels, self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"tierwise_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"tierwise_{name}", text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(f"tierwise_{name}", text, labels, buckets=buckets, registry=self.registry)

    def _money(self, name: str, text: str, *labels: str) -> MoneyCounter:
        return MoneyCounter(f"tierwise_{name}", text, labels, self.registry)


def serve_metrics(registry: CollectorRegistry, host: str, port: int) -> Any:  # noqa: ANN401 - the library's pair of server and thread
    """Serves the metrics over HTTP on threads of their own."""
    return prometheus_client.start_http_server(port, addr=host, registry=registry)
