"""What new outcomes change in a server that runs: metrics, the models' health, callers' spend."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from tierwise_server.fleet.monitor import FleetMonitor
from tierwise_server.ledger.pricing import PriceBook
from tierwise_server.spending.control import SpendControl
from tierwise_server.telemetry import Telemetry

if TYPE_CHECKING:
    from tierwise_server.ledger.pricing import SettledOutcome
    from tierwise_server.ledger.records import CatalogRecord, OutcomeRecord


class Feedback:
    """Passes new outcomes on to all that learn from them, and observes the ledger."""

    def __init__(self, telemetry: Telemetry, fleet: FleetMonitor, spending: SpendControl) -> None:
        self._telemetry = telemetry
        self._fleet = fleet
        self._spending = spending
        self._prices = PriceBook()

    def note_catalog(self, catalog: CatalogRecord) -> None:
        """Takes what outcomes are priced by where no ledger does it."""
        self._prices.put_in_service(catalog)

    def outcomes_accepted(self, outcomes: Sequence[OutcomeRecord]) -> None:
        """Takes new outcomes where there is no ledger to price them."""
        self.outcomes_settled([self._prices.settle(one) for one in outcomes])

    def outcomes_settled(self, outcomes: Iterable[SettledOutcome]) -> None:
        """Takes new outcomes with their costs. May be called from another thread than the rest."""
        settled = list(outcomes)
        self._spending.settle(settled)
        self._fleet.observe(one.record for one in settled)
        self._telemetry.outcomes_settled(settled)

    def ledger_wrote(self, decisions: int, outcomes: int, seconds: float) -> None:
        """Counts a batch that was written to the ledger."""
        self._telemetry.ledger_wrote(decisions, outcomes, seconds)

    def ledger_dropped(self, decisions: int) -> None:
        """Counts decisions that the ledger lost."""
        self._telemetry.ledger_dropped(decisions)

    def ledger_available(self, available: bool) -> None:
        """Notes whether the ledger's database can be written."""
        self._telemetry.ledger_available(available)
