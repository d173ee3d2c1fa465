"""Our own counters tell what those of the library would."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tierwise_server.telemetry.metrics import SCORE_BUCKETS, STAGE_BUCKETS_S
from tierwise_server.telemetry.tallies import CounterTally, HistogramTally

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def told(registry: CollectorRegistry) -> Samples:
    """Returns all samples, without when they were made."""
    return {
        (one.name, tuple(sorted(one.labels.items()))): one.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for one in family.samples
        if not one.name.endswith("_created")
    }


@given(
    st.lists(st.tuples(st.sampled_from(["a", 'b"\n\\']), st.floats(0, 10))),
    st.sampled_from([STAGE_BUCKETS_S, SCORE_BUCKETS]),
)
def test_a_histogram_tells_what_the_librarys_tells(
    values: list[tuple[str, float]], bounds: tuple[float, ...]
) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    tally = HistogramTally("time", "Time.", bounds, ("stage",), ours)
    histogram = Histogram("time", "Time.", ("stage",), buckets=bounds, registry=theirs)
    for stage, value in values:
        tally.cell(stage).observe(value)
        histogram.labels(stage).observe(value)
    assert told(ours) == told(theirs)


def test_a_value_on_a_bound_is_in_the_bucket_below() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    tally = HistogramTally("score", "Score.", SCORE_BUCKETS, (), ours)
    histogram = Histogram("score", "Score.", buckets=SCORE_BUCKETS, registry=theirs)
    for value in (*SCORE_BUCKETS, -1.0, 1.5):
        tally.cell().observe(value)
        histogram.observe(value)
    assert told(ours) == told(theirs)


def test_a_counter_tells_what_the_librarys_tells() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    tally = CounterTally("calls", "Calls.", ("method", "code"), ours)
    counter = Counter("calls", "Calls.", ("method", "code"), registry=theirs)
    for labels in (("A", "OK"), ("A", "OK"), ("B", "INTERNAL")):
        tally.cell(*labels).count += 1
        counter.labels(*labels).inc()
    assert told(ours) == told(theirs) != {}


def test_cells_may_come_while_others_are_read() -> None:
    registry = CollectorRegistry()
    tally = CounterTally("calls", "Calls.", ("method",), registry)
    done = threading.Event()

    def add() -> None:
        for number in range(20_000):
            tally.cell(str(number)).count += 1
        done.set()

    adding = threading.Thread(target=add)
    adding.start()
    while not done.is_set():
        list(tally.collect())
    adding.join()
    assert len(told(registry)) == 20_000
