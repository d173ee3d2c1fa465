"""Two revisions compared, on hand-computed ledgers in real databases of both kinds."""

from __future__ import annotations

import pytest
from tests.unit.server.ledger.conftest import attempt, outcome
from tests.unit.server.reporting.conftest import BIG_COST, FIRST_MS, SMALL_COST, write
from tests.unit.server.reporting.test_ledger_source import later

from tierwise_server.ledger.records import OutcomeRecord
from tierwise_server.reporting.database import opened_ledger
from tierwise_server.reporting.revisions import (
    ALL_TASKS,
    TaskComparison,
    agresti_caffo,
    compare_revisions,
    welch,
)


def call(name: str, revision: str, minute: int, **changes: object) -> OutcomeRecord:
    model = str(changes.pop("model", "small"))
    values = {"decided_ms": FIRST_MS + minute * 60_000, "catalog_revision": revision, **changes}
    return outcome(name, attempt(model), **values)  # type: ignore[arg-type]


def compared(url: str) -> dict[str, TaskComparison]:
    with opened_ledger(url) as engine:
        return {one.task: one for one in compare_revisions(engine, "r1", "r2")}


def test_calls_count_from_when_both_served_and_each_decision_once(url: str) -> None:
    write(
        url,
        outcomes=[
            call("alone", "r1", 0, task="sql"),
            call("a", "r1", 2, task="sql", quality=1.0),
            call("b", "r1", 3, task="sql", model="big"),
            call("c", "r2", 1, task="sql", verdict=2),
            call("d", "r2", 3, task="sql"),
            call("e", "r2", 4, task="grammar", quality=0.5),
            # The same decision's answer by another model, for comparison.
            call("d-again", "r2", 3, decision_id="of-d", task="sql", model="big"),
            call("other", "r3", 3, task="sql"),
            later("d-judged", "of-d", quality=0.5),
            later("b-judged", "of-b", quality=0.0),
            later("b-judged-again", "of-b", quality=0.5),
        ],
    )
    found = compared(url)
    assert next(iter(found)) == ALL_TASKS
    sql = found["sql"]
    assert (sql.live_calls, sql.candidate_calls) == (2, 2)
    assert sql.cost_usd is not None
    assert sql.cost_usd.live == pytest.approx((SMALL_COST + BIG_COST) / 2 / 1e9)
    assert sql.cost_usd.candidate == pytest.approx(SMALL_COST / 1e9)
    assert sql.quality is not None
    assert (sql.live_judged, sql.candidate_judged) == (2, 2)
    assert (sql.quality.live, sql.quality.candidate) == (0.75, 0.25)
    assert found["grammar"].cost_usd is None
    assert found[ALL_TASKS].candidate_calls == 3


def test_nothing_is_compared_with_nothing(url: str) -> None:
    write(url)
    assert compared(url) == {}


def test_the_difference_of_costs_by_hand() -> None:
    found = welch([1.0, 3.0], [2.0, 2.0, 5.0])
    assert found is not None
    half = 1.959964 * (2.0 / 2 + 3.0 / 3) ** 0.5
    assert (found.value, found.low, found.high) == pytest.approx((1.0, 1.0 - half, 1.0 + half))


def test_a_few_good_answers_are_no_certainty() -> None:
    found = agresti_caffo([1.0] * 4, [1.0] * 4)
    assert found is not None
    assert found.value == 0.0
    assert found.low < -0.3 < 0.3 < found.high
    assert not found.is_clear
    many = agresti_caffo([1.0] * 400, [0.0] * 400)
    assert many is not None
    assert many.is_clear
    assert many.low <= many.value == -1.0
