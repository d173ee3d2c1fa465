"""Counting on the way of every decision, and money that stays exact.

The library's counters take a lock for each step and look up labels by hashing them: 9 µs for a
decision, half of what deciding a prompt takes that came before. Here whoever counts holds on to the
cell that it counts in, and only the scrape puts names and labels to it.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import ClassVar, Generic, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import INF, floatToGoString

from tierwise_server.planning.prices import NANO_USD_PER_USD


class Cell:
    """A count. One thread adds to it."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Buckets:
    """Values by bucket. One thread adds to them."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Of each bucket by itself; the last one has what is above all bounds."""
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Adds a value."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value


_Child = TypeVar("_Child")


class _Tally(Collector, Generic[_Child]):
    """A metric whose series are cells of our own. One thread makes cells."""

    kind: ClassVar = "counter"

    def __init__(
        self, name: str, text: str, labels: tuple[str, ...], registry: CollectorRegistry
    ) -> None:
        self._name = name
        self._text = text
        self._labels = labels
        self._children: dict[tuple[str, ...], _Child] = {}
        registry.register(self)

    def cell(self, *labels: str) -> _Child:
        """Returns where to count under the values of the labels. Hold on to it."""
        child = self._children.get(labels)
        if child is None:
            child = self._children[labels] = self._new()
        return child

    def describe(self) -> Iterator[Metric]:
        """Yields the metric without samples, by which the registry knows its name."""
        yield self._metric()

    def _metric(self) -> Metric:
        return Metric(self._name, self._text, self.kind)

    @abstractmethod
    def _new(self) -> _Child:
        """Returns an empty cell."""

    def _series(self) -> Iterator[tuple[dict[str, str], _Child]]:
        # A copy, since cells may be added while another thread collects.
        for labels, child in self._children.copy().items():
            yield dict(zip(self._labels, labels, strict=True)), child


class CounterTally(_Tally[Cell]):
    """A counter, for what happens at every call."""

    def _new(self) -> Cell:
        return Cell()

    def collect(self) -> Iterator[Metric]:
        """Yields the metric with its samples."""
        metric = self._metric()
        for labels, cell in self._series():
            metric.add_sample(f"{self._name}_total", labels, cell.count)
        yield metric


class HistogramTally(_Tally[Buckets]):
    """A histogram, for what happens at every call."""

    kind = "histogram"

    def __init__(
        self,
        name: str,
        text: str,
        bounds: Sequence[float],
        labels: tuple[str, ...],
        registry: CollectorRegistry,
    ) -> None:
        self._bounds = tuple(bounds)
        super().__init__(name, text, labels, registry)

    def _new(self) -> Buckets:
        return Buckets(self._bounds)

    def collect(self) -> Iterator[Metric]:
        """Yields the metric with its samples."""
        metric = self._metric()
        bounds = [floatToGoString(one) for one in (*self._bounds, INF)]  # type: ignore[no-untyped-call]
        for labels, buckets in self._series():
            running = list(accumulate(buckets.counts.copy()))
            for bound, count in zip(bounds, running, strict=True):
                metric.add_sample(f"{self._name}_bucket", {**labels, "le": bound}, count)
            metric.add_sample(f"{self._name}_count", labels, running[-1])
            if self._bounds[0] >= 0:
                # A sum that may fall is no counter, and Prometheus would take it for a restart.
                metric.add_sample(f"{self._name}_sum", labels, buckets.total)
        yield metric


class MoneyCounter(_Tally[Cell]):
    """Adds up nano-dollars exactly and shows them in dollars. Thread-safe.

    A counter of the library adds floating-point numbers, which lose nano-dollars from some millions
    of dollars on, and would have the parts no longer make the whole.
    """

    def __init__(
        self, name: str, text: str, labels: tuple[str, ...], registry: CollectorRegistry
    ) -> None:
        self._lock = threading.Lock()
        super().__init__(name, text, labels, registry)

    def _new(self) -> Cell:
        return Cell()

    def add(self, nano_usd: int, *labels: str) -> None:
        """Adds an amount, which is at least 0, under the values of the labels."""
        with self._lock:
            self.cell(*labels).count += nano_usd

    def total(self, *labels: str) -> int:
        """Returns the nano-dollars under the values of the labels."""
        with self._lock:
            return self.cell(*labels).count

    def collect(self) -> Iterator[Metric]:
        """Yields the metric with its samples."""
        metric = self._metric()
        for labels, cell in self._series():
            metric.add_sample(f"{self._name}_total", labels, cell.count / NANO_USD_PER_USD)
        yield metric
