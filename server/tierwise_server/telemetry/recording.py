"""What happens in the server, put into metrics and the access log."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

from tierwise_server.catalog.calibration import Bound
from tierwise_server.live_catalog import LiveCatalog
from tierwise_server.routing import Routed
from tierwise_server.telemetry.logs import access_logger
from tierwise_server.telemetry.metrics import Metrics
from tierwise_server.telemetry.outcomes import OutcomeCounting, known_names
from tierwise_server.telemetry.tallies import Buckets, Cell

if TYPE_CHECKING:
    from tierwise_server.ledger.pricing import SettledOutcome
    from tierwise_server.snapshot import Snapshot

_NOTHING_NEAR: Final = -math.inf


class _Decided(NamedTuple):
    """Where decisions of one kind are counted."""

    decisions: Cell
    without_index: Cell
    tasks: Cell
    scores: Buckets
    similarities: Buckets


class Telemetry:
    """Metrics and the access log of one server. Belongs to one event loop, where not said else."""

    def __init__(self, *, log_requests: str = "failures") -> None:
        self.metrics = Metrics()
        self.registry = self.metrics.registry
        self.queue_depth = self.metrics.queue_depth
        self.ledger_queue = self.metrics.ledger_queue
        self._outcomes = OutcomeCounting(self.metrics)
        self._log_ok = log_requests == "all"
        self._log_failures = log_requests != "none"
        self._ended: dict[tuple[str, str], tuple[Cell, Buckets]] = {}
        self._decided: dict[tuple[str, str, int, str, str], _Decided] = {}
        stages = ("queue", "encoding", "scoring", "total")
        self._queue_s, self._encoding_s, self._scoring_s, self._total_s = map(
            self.metrics.stage_seconds.cell, stages
        )
        sources = ("cache", "encoder", "caller")
        self._cached, self._encoded, self._sent = map(self.metrics.vectors.cell, sources)

    def call_ended(self, method: str, code: str, seconds: float) -> None:
        """Counts a call and, where the settings say so, logs it."""
        cells = self._ended.get((method, code))
        if cells is None:
            metrics = self.metrics
            cells = metrics.calls.cell(method, code), metrics.call_seconds.cell(method)
            self._ended[method, code] = cells
        cells[0].count += 1
        cells[1].observe(seconds)
        if self._log_ok if code == "OK" else self._log_failures:
            access_logger.log(
                logging.INFO if code == "OK" else logging.WARNING,
                "call",
                extra={"method": method, "code": code, "ms": round(seconds * 1e3, 3)},
            )

    def decided(self, routed: Routed) -> None:
        """Counts a decision that a caller asked for.

        What tells of the prompt's content is left out where nothing of it may be kept.
        """
        verdict, timings = routed.verdict, routed.timings
        keep_nothing = routed.opening.request.keep_nothing
        cells = self._cells(routed, keep_nothing=keep_nothing)
        cells.decisions.count += 1
        cells.tasks.count += 1
        self._total_s.observe(timings.total_s)
        if routed.leads is None:
            cells.without_index.count += 1
            return
        self._scoring_s.observe(timings.scoring_s)
        if timings.vector_cached:
            self._cached.count += 1
        elif timings.encoding_s > 0.0:
            self._encoded.count += 1
            self._queue_s.observe(timings.queue_s)
            self._encoding_s.observe(timings.encoding_s)
        else:
            self._sent.count += 1
        semantic, similarity = verdict.semantic, verdict.similarity
        if keep_nothing or semantic is None or similarity is None:
            return
        # A catalog without utterances scores minus infinity.
        if similarity > _NOTHING_NEAR:
            cells.scores.observe(semantic.best.score)
            cells.similarities.observe(similarity)

    def _cells(self, routed: Routed, *, keep_nothing: bool) -> _Decided:
        verdict, choice, catalog = routed.verdict, routed.choice, routed.catalog
        tier, model = str(verdict.tier.id), ""
        if choice is not None:
            tier, model = choice.model.model.tier, choice.model.model.id
        task = "" if keep_nothing or verdict.task is None else verdict.task.id
        key = (catalog, tier, int(verdict.kind), model, task)
        cells = self._decided.get(key)
        if cells is None:
            metrics = self.metrics
            cells = self._decided[key] = _Decided(
                decisions=metrics.decisions.cell(catalog, tier, verdict.kind.name, model),
                without_index=metrics.without_index.cell(catalog, verdict.kind.name),
                tasks=metrics.task_decisions.cell(catalog, tier, task),
                scores=metrics.scores.cell(catalog),
                similarities=metrics.similarities.cell(catalog),
            )
        return cells

    def index_use(self, catalog: str) -> tuple[int, int]:
        """Returns how many decisions there were since the start, and how many without the index."""
        mine = [cells for key, cells in self._decided.items() if key[0] == catalog]
        without = {id(cells.without_index): cells.without_index.count for cells in mine}
        return int(sum(cells.decisions.count for cells in mine)), int(sum(without.values()))

    def outcomes_taken(self, results: Iterable[str]) -> None:
        """Counts reported outcomes by what became of them."""
        for result in results:
            self.metrics.outcomes.labels(result).inc()

    def outcomes_settled(self, outcomes: Iterable[SettledOutcome]) -> None:
        """Counts what new outcomes tell. May be called from another thread than the rest."""
        self._outcomes.count(outcomes)

    def ledger_wrote(self, decisions: int, outcomes: int, seconds: float) -> None:
        """Counts a batch that was written to the ledger."""
        self.metrics.ledger_rows.labels("decision").inc(decisions)
        self.metrics.ledger_rows.labels("outcome").inc(outcomes)
        self.metrics.ledger_seconds.observe(seconds)

    def ledger_dropped(self, decisions: int) -> None:
        """Counts decisions that the ledger lost."""
        self.metrics.ledger_dropped.inc(decisions)

    def ledger_available(self, available: bool) -> None:
        """Notes whether the ledger's database can be written."""
        self.metrics.ledger_up.set(available)

    def catalog_checked(self, live: LiveCatalog, seconds: float) -> None:
        """Records a look at changed catalog files."""
        faults = len(live.status.faults)
        self.metrics.reloads.labels(live.name, "faulty" if faults else "loaded").inc()
        self.metrics.reload_seconds.labels(live.name).observe(seconds)
        self.catalog_in_service(live)

    def catalog_in_service(self, live: LiveCatalog) -> None:
        """Records how a catalog stands to its files."""
        snapshot, metrics = live.snapshot, self.metrics
        metrics.faults.labels(live.name).set(len(live.status.faults))
        for bound in Bound:
            stale = bound in snapshot.catalog.stale_bounds
            metrics.stale_calibration.labels(live.name, bound).set(stale)
        metrics.load_time.labels(live.name).set(snapshot.load_time.timestamp())
        metrics.catalog.labels(live.name).info(
            {
                "revision": snapshot.revision,
                "encoder": snapshot.encoder_id,
                "scorer": snapshot.scorer.scorer_id,
            }
        )
        self._outcomes.know(live.name, known_names(snapshot))

    def deciding_by(self, catalog: str, *snapshots: Snapshot) -> None:
        """Notes what decides under a catalog's name, where that is more than what is in service."""
        self._outcomes.know(catalog, known_names(*snapshots))
