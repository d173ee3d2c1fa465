"""Keeps what is known of the models of each catalog, and the view of it that decisions read.

Outcomes come in from any thread; the view is made anew at most every `REFRESH_S`, beside the
decisions, and is the same object for as long as nothing changed that they go by.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from tierwise_server.catalog.registry import RateLimits
from tierwise_server.fleet.record import ModelRecord, Observed
from tierwise_server.planning.fleet import EMPTY_FLEET, FleetView, ModelHealth
from tierwise_server.planning.registry import ModelRegistry

if TYPE_CHECKING:
    from tierwise_server.ledger.records import OutcomeRecord

REFRESH_S: Final = 0.5
"""Seconds between views."""

OLDEST_MS: Final = 600_000
"""Age of a decision from which on its outcome tells nothing of the present: clients that were cut
off report hours later."""

_REVISION_DIGITS: Final = 12
_WELL: Final = ModelHealth()
_NO_LIMITS: Final = RateLimits()


@dataclass(slots=True)
class _Catalog:
    limits: Mapping[str, RateLimits]
    records: dict[str, ModelRecord] = field(default_factory=dict)
    view: FleetView = EMPTY_FLEET


class FleetMonitor:
    """Observes the models of one server's catalogs. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Takes a clock that never goes back, in seconds."""
        self._clock = clock
        self._catalogs: dict[str, _Catalog] = {}
        self._lock = threading.Lock()
        self.view_count = 0
        """Views that differed from the one before."""

    def use(self, catalog: str, *registries: ModelRegistry) -> None:
        """Takes the models that a catalog is served with; the first catalog is the default.

        What is known of models that stay is kept.

        Args:
            catalog: Its name.
            registries: Its models, and those of a candidate that decides for some callers; where
                both have one, the first counts.
        """
        limits = {
            str(one.model.id): one.model.limits
            for registry in reversed(registries)
            for one in registry.models
        }
        with self._lock:
            known = self._catalogs.setdefault(catalog, _Catalog(limits))
            known.limits = limits
            known.records = {
                name: record for name, record in known.records.items() if name in limits
            }

    def view(self, catalog: str) -> FleetView:
        """Returns what decisions go by."""
        known = self._catalogs.get(catalog)
        return EMPTY_FLEET if known is None else known.view

    def observe(self, outcomes: Iterable[OutcomeRecord]) -> None:
        """Takes outcomes that were not reported before."""
        now_s = self._clock()
        default = next(iter(self._catalogs), "")
        for outcome in outcomes:
            with self._lock:
                known = self._catalogs.get(outcome.catalog or default)
                age_ms = max(0, outcome.recorded_ms - outcome.decided_ms)
                if known is None or age_ms > OLDEST_MS:
                    continue
                for attempt in outcome.attempts:
                    if attempt.model_id not in known.limits:
                        continue
                    record = known.records.get(attempt.model_id)
                    if record is None:
                        record = known.records[attempt.model_id] = ModelRecord()
                    record.observe(attempt, now_s - age_ms / 1000, now_s)

    def refresh(self) -> None:
        """Makes the views anew where something changed that decisions go by."""
        now_s = self._clock()
        for known in list(self._catalogs.values()):
            models = {}
            for name, record in list(known.records.items()):
                # One by one, so that outcomes do not wait for all of them.
                with self._lock:
                    health = record.health(known.limits.get(name, _NO_LIMITS), now_s)
                if health != _WELL:
                    models[name] = health
            if models != known.view.models:
                known.view = _view(models)
                self.view_count += 1

    @property
    def is_idle(self) -> bool:
        """Whether nothing was observed yet, so that there is nothing to make a view of."""
        return not any(known.records for known in self._catalogs.values())

    def observed(self) -> Iterator[tuple[str, str, Observed]]:
        """Yields what is known of each model, with its catalog and id."""
        with self._lock:
            now_s = self._clock()
            found = [
                (catalog, name, record.observed(now_s))
                for catalog, known in self._catalogs.items()
                for name, record in known.records.items()
            ]
        yield from found


async def keep_fresh(monitor: FleetMonitor, *, stop: asyncio.Event) -> None:
    """Makes views until `stop` is set, on another thread than the event loop's."""
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), REFRESH_S)
        if not monitor.is_idle:
            await asyncio.to_thread(monitor.refresh)


def _view(models: Mapping[str, ModelHealth]) -> FleetView:
    if not models:
        return EMPTY_FLEET
    content = repr(sorted(models.items())).encode()
    revision = hashlib.blake2b(content).hexdigest()[:_REVISION_DIGITS]
    return FleetView(revision=revision, models=MappingProxyType(dict(models)))
