"""From outcomes to views: what changes them, what does not, and what is kept of it."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
from tests.unit.server.planning.conftest import Planning

from tierwise_server.catalog.registry import RateLimits
from tierwise_server.fleet.breaker import PATIENCE_S, REST_S
from tierwise_server.fleet.monitor import OLDEST_MS, FleetMonitor
from tierwise_server.ledger.money import Tokens
from tierwise_server.ledger.records import AttemptRecord, Origin, OutcomeRecord, RateHeadroom
from tierwise_server.planning.error_classes import ErrorClass
from tierwise_server.planning.fleet import EMPTY_FLEET, ModelHealth
from tierwise_server.planning.registry import ModelRegistry

FAILED = AttemptRecord(model_id="one", error_class=ErrorClass.SERVER_ERROR)
ANSWERED = AttemptRecord(model_id="one", duration_us=1_000_000, first_token_us=200_000)


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Returns them."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def monitor(clock: Clock) -> FleetMonitor:
    found = FleetMonitor(clock)
    found.use("default", registry(["one", "two"]))
    found.use("second", registry(["one"]))
    return found


def registry(names: Sequence[str]) -> ModelRegistry:
    limits = RateLimits(requests_per_minute=64, tokens_per_minute=6400)
    planning = Planning()
    return planning.registry([planning.model(name, "budget", limits=limits) for name in names])


def outcome(*attempts: AttemptRecord, catalog: str = "default", age_ms: int = 0) -> OutcomeRecord:
    return OutcomeRecord(
        outcome_id="o",
        origin=Origin.ROUTER,
        decision_id="d",
        decided_ms=10_000_000 - age_ms,
        recorded_ms=10_000_000,
        catalog=catalog,
        attempts=attempts,
    )


def health(monitor: FleetMonitor, catalog: str = "default", model: str = "one") -> ModelHealth:
    monitor.refresh()
    return monitor.view(catalog).models.get(model, ModelHealth())


def test_nothing_is_known_at_first_and_of_catalogs_that_are_not_there(
    monitor: FleetMonitor,
) -> None:
    monitor.observe([outcome(FAILED, FAILED, FAILED, catalog="elsewhere")])
    monitor.refresh()
    assert monitor.is_idle
    assert monitor.view("default") is EMPTY_FLEET
    assert monitor.view("elsewhere") is EMPTY_FLEET


def test_failures_of_all_clients_rest_a_model_of_their_catalog(monitor: FleetMonitor) -> None:
    for _ in range(3):
        monitor.observe([outcome(FAILED)])
    assert not health(monitor).available
    assert health(monitor, model="two") == ModelHealth()
    assert monitor.view("second") is EMPTY_FLEET


def test_a_client_s_own_decision_without_a_catalog_counts_for_the_default(
    monitor: FleetMonitor,
) -> None:
    monitor.observe([outcome(FAILED, FAILED, FAILED, catalog="")])
    assert not health(monitor).available


def test_what_happened_long_ago_tells_nothing_of_now(monitor: FleetMonitor) -> None:
    monitor.observe([outcome(FAILED, FAILED, FAILED, age_ms=OLDEST_MS + 1)])
    assert health(monitor) == ModelHealth()


def test_a_view_stays_the_same_object_until_something_changes(
    monitor: FleetMonitor, clock: Clock
) -> None:
    monitor.observe([outcome(FAILED, FAILED, FAILED)])
    monitor.refresh()
    view = monitor.view("default")
    for step in range(20):
        clock.now += 0.5
        monitor.observe([outcome(FAILED)] if step % 5 == 0 else [])
        monitor.refresh()
        assert monitor.view("default") is view
    assert monitor.view_count == 1
    clock.now += REST_S
    monitor.refresh()
    probing = monitor.view("default")
    assert probing.revision != view.revision
    assert probing.is_probing


def test_a_model_that_answers_its_probes_is_well_again(monitor: FleetMonitor, clock: Clock) -> None:
    monitor.observe([outcome(FAILED, FAILED, FAILED)])
    clock.now += REST_S + 1
    assert health(monitor).probe_level == 0
    # The answer to a call from before the rest is none to a probe.
    monitor.observe([outcome(ANSWERED, ANSWERED, age_ms=30_000)])
    assert not health(monitor).available
    monitor.observe([outcome(ANSWERED), outcome(ANSWERED)])
    assert health(monitor).available
    # Nor do the failures from before count any more.
    monitor.observe([outcome(FAILED)])
    assert health(monitor).available


def test_clocks_that_jump_keep_nobody_out_for_good(monitor: FleetMonitor, clock: Clock) -> None:
    monitor.observe([outcome(FAILED, FAILED, FAILED, age_ms=-(10**9))])
    assert not health(monitor).available
    clock.now += REST_S
    assert not health(monitor).available
    clock.now += PATIENCE_S
    assert health(monitor).available


def test_headroom_holds_until_it_is_renewed(monitor: FleetMonitor, clock: Clock) -> None:
    def told(requests: int | None, tokens: int | None, reset_s: float | None) -> AttemptRecord:
        headroom = RateHeadroom(requests, tokens, reset_s)
        return AttemptRecord(model_id="one", headroom=headroom)

    monitor.observe([outcome(told(0, 5000, 7.0))])
    assert (health(monitor).remaining_requests, health(monitor).remaining_tokens) == (0, 4096)
    clock.now += 7
    assert health(monitor).remaining_requests is None
    monitor.observe([outcome(told(None, 10, None))])
    assert (health(monitor).remaining_requests, health(monitor).remaining_tokens) == (None, 8)
    monitor.observe([outcome(told(3, 3, 10.0**6))])
    clock.now += 299
    assert health(monitor).remaining_requests == 2
    clock.now += 2
    assert health(monitor).remaining_requests is None


def test_the_use_of_limits_is_that_of_the_last_minute(monitor: FleetMonitor, clock: Clock) -> None:
    tokens = Tokens(input=40, output=10)
    monitor.observe([outcome(*[AttemptRecord(model_id="one", tokens=tokens)] * 36)])
    assert health(monitor).usage_level == 4
    assert health(monitor, model="two").usage_level == 0
    (row,) = [one for one in monitor.observed() if one[:2] == ("default", "one")]
    assert row[2].requests_per_minute == pytest.approx(36)
    assert row[2].tokens_per_minute == pytest.approx(1800)
    clock.now += 240
    assert health(monitor).usage_level == 0


def test_latency_is_observed_of_answers_alone(monitor: FleetMonitor, clock: Clock) -> None:
    slow = AttemptRecord(
        model_id="one", error_class=ErrorClass.CONTENT_POLICY, duration_us=90_000_000
    )
    monitor.observe([outcome(*[ANSWERED] * 5, *[slow] * 20)])
    assert health(monitor).latency_s == pytest.approx(1.0, rel=0.2)
    (row,) = [one[2] for one in monitor.observed() if one[:2] == ("default", "one")]
    assert (row.latency_s, row.first_token_s) == (1.0, 0.2)
    assert row.error_share == 0


def test_a_model_that_leaves_the_catalog_is_forgotten_and_the_others_are_not(
    monitor: FleetMonitor,
) -> None:
    two = AttemptRecord(model_id="two", error_class=ErrorClass.TIMEOUT)
    monitor.observe([outcome(*[FAILED, two] * 3)])
    monitor.use("default", registry(["two", "three"]))
    monitor.refresh()
    assert set(monitor.view("default").models) == {"two"}
    monitor.use("default", registry(["one", "two"]))
    assert health(monitor) == ModelHealth()


def test_models_that_no_catalog_knows_take_no_memory(monitor: FleetMonitor) -> None:
    monitor.observe(outcome(AttemptRecord(model_id=f"made-up-{number}")) for number in range(1000))
    assert monitor.is_idle


def test_outcomes_may_come_from_several_threads(monitor: FleetMonitor) -> None:
    def work() -> None:
        for _ in range(200):
            monitor.observe([outcome(ANSWERED)])
            monitor.refresh()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    (row,) = [one[2] for one in monitor.observed()]
    assert row.requests_per_minute == pytest.approx(800)
