"""Calls for people to judge, from real databases of both kinds."""

from __future__ import annotations

from tests.unit.server.ledger.conftest import attempt, outcome
from tests.unit.server.reporting.conftest import write
from tests.unit.server.reporting.test_ledger_source import later

from tierwise_server.ledger.unjudged import calls_to_judge
from tierwise_server.planning.error_classes import ErrorClass
from tierwise_server.reporting.database import opened_ledger


def test_answered_calls_without_a_judgement_come_once_in_a_fixed_order(url: str) -> None:
    failed = attempt(tokens=None, error_class=ErrorClass.TIMEOUT)
    write(
        url,
        outcomes=[
            *(outcome(f"c{number}", task="sql") for number in range(20)),
            outcome("c0-again", attempt("big"), decision_id="of-c0"),
            outcome("failed", failed),
            outcome("hidden", keep_nothing=True),
            outcome("judged", quality=0.0),
            outcome("judged-later"),
            later("l", "of-judged-later", verdict=1),
        ],
    )
    with opened_ledger(url) as engine:
        found = list(calls_to_judge(engine))
        assert found == list(calls_to_judge(engine))
        everything = {one.decision_id for one in calls_to_judge(engine, judged_too=True)}
    names = [one.decision_id for one in found]
    assert sorted(names) == sorted(f"of-c{number}" for number in range(20))
    assert names != sorted(names)
    assert everything == {*names, "of-judged", "of-judged-later"}
    first = next(one for one in found if one.decision_id == "of-c0")
    assert (first.model, first.tier, first.task, first.prompt) == ("small", "budget", "sql", None)
