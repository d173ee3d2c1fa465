"""Hand-computed ledgers, in real databases of both kinds, through to the report."""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import create_engine, event, text
from tests.unit.server.ledger.conftest import attempt, decision, outcome
from tests.unit.server.reporting.conftest import (
    BIG_COST,
    DAY_MS,
    FIRST_MS,
    MARCH,
    SMALL_COST,
    reported,
    write,
)

from tierwise_server.ledger.money import Tokens
from tierwise_server.ledger.records import Origin, OutcomeRecord
from tierwise_server.planning.error_classes import ErrorClass
from tierwise_server.planning.plan import StepKind
from tierwise_server.reporting.database import opened_ledger
from tierwise_server.reporting.errors import ReportError
from tierwise_server.reporting.ledger_source import read_rows
from tierwise_server.reporting.routing_cost import parse_routing_cost
from tierwise_server.reporting.rows import Period, ServedOther, UnpricedModel
from tierwise_server.reporting.shuffle import NotIdentifiable, ShuffleControl


def call(name: str, *attempts: object, day: int = 0, **changes: object) -> OutcomeRecord:
    """Returns an outcome of a day of March, counted from 0."""
    time_ms = FIRST_MS + day * DAY_MS + 3_600_000
    return outcome(name, *attempts, decided_ms=time_ms, **changes)  # type: ignore[arg-type]


def later(name: str, decision_id: str, **judgement: object) -> OutcomeRecord:
    """Returns a judgement that came a year after the call."""
    time_ms = FIRST_MS + 365 * DAY_MS
    values = {"origin": Origin.LATER, "decision_id": decision_id, "decided_ms": time_ms}
    return OutcomeRecord(outcome_id=name, recorded_ms=time_ms, **values, **judgement)  # type: ignore[arg-type]


def test_a_ledger_by_hand(url: str) -> None:
    timed = attempt(duration_us=1_500, step_kind=StepKind.FIRST)
    rejected = attempt(error_class=ErrorClass.REJECTED_BY_VALIDATOR, step_kind=StepKind.FIRST)
    escalated = attempt("big", duration_us=9_000, step_kind=StepKind.ESCALATION)
    refused = attempt(tokens=None, error_class=ErrorClass.CONTENT_POLICY, duration_us=77)
    write(
        url,
        decisions=[
            decision(1, time_ms=FIRST_MS, total_s=0.001),
            decision(2, time_ms=FIRST_MS, total_s=0.003, kind=7, expected_tier="premium"),
            decision(3, time_ms=FIRST_MS - 1),
        ],
        outcomes=[
            call("plain", timed, task="grammar", caller="billing"),
            call("escalated", rejected, escalated, day=1, task="sql", caller="billing"),
            call("refused", refused, day=1),
            call("unpriced", attempt("own", tokens=Tokens(input=7, output=3)), day=30),
            call("before", day=-1),
            call("after", day=31),
        ],
    )
    report = reported(url, "day", "tier", "model", routing_cost=parse_routing_cost("1/decision"))
    whole = report.overall
    assert whole.calls == 4
    assert (whole.input_tokens, whole.output_tokens) == (3007, 303)
    assert (whole.unanswered, whole.refusals, whole.escalations, whole.alternates) == (1, 1, 1, 0)
    assert (whole.compared_calls, whole.unpriced_calls) == (3, 1)
    assert whole.balance.counterfactual == 2 * BIG_COST
    assert whole.balance.calls == SMALL_COST + BIG_COST
    assert whole.balance.unsuccessful == SMALL_COST
    assert whole.balance.routing == 2 * 10**9
    assert whole.balance.saving == BIG_COST - 2 * SMALL_COST - 2 * 10**9
    assert whole.uncompared_cost_nano_usd == 0
    assert (whole.latency_p50_us, whole.latency_p99_us) == (1_500, 9_000)
    assert report.unpriced == (UnpricedModel("own", 1, 7, 3),)
    assert [(one.label, one.calls) for one in report.breakdowns["day"]] == [
        ("2026-03-01", 1),
        ("2026-03-02", 2),
        ("2026-03-31", 1),
    ]
    assert [(one.label, one.calls, one.escalations) for one in report.breakdowns["model"]] == [
        ("small", 2, 0),
        ("big", 1, 1),
        ("own", 1, 0),
    ]
    assert [(one.label, one.calls) for one in report.breakdowns["tier"]] == [("budget", 4)]
    within, pair = report.tier_pairs
    assert (within.final_tier, within.fallbacks, within.refusals) == ("budget", 0, 1)
    assert (pair.tier, pair.final_tier, pair.fallbacks, pair.alert) == (
        "budget",
        "premium",
        1,
        True,
    )
    assert report.fallback_alert
    decisions = report.decisions
    assert decisions.by_kind == (("semantic", 1), ("default", 1))
    assert (decisions.total_p50_us, decisions.total_p99_us) == (1_000, 3_000)
    assert (decisions.expected, decisions.right) == (1, 0)
    assert report.baselines == ("big",)


def test_amounts_beyond_64_bits_are_exact(url: str) -> None:
    dear = 10**15 - 1
    count = 10_000
    write(
        url,
        outcomes=[call(f"o-{one}", attempt(stated_cost_nano_usd=dear)) for one in range(count)],
    )
    assert reported(url).overall.balance.calls == dear * count > 2**63


def test_decisions_without_a_router_and_other_models_are_told(url: str) -> None:
    other = attempt(served_model_name="small-1-turbo")
    write(
        url,
        outcomes=[
            call("a", other),
            call("b", other),
            call("c", attempt(served_model_name="small-1-2026-01-01")),
            call(
                "d",
                attempt(
                    tokens=None, error_class=ErrorClass.TIMEOUT, served_model_name="small-1-turbo"
                ),
                attempt("big", served_model_name="big-9"),
            ),
            call("e", origin=Origin.ROUTERLESS, routerless_cause=2),
            call("f", origin=Origin.ROUTERLESS, routerless_cause=2),
            call("g", origin=Origin.ROUTERLESS, routerless_cause=3),
        ],
    )
    report = reported(url)
    assert report.overall.other_models == 3
    assert report.served_other == (
        ServedOther("small", "small-1-turbo", 2),
        ServedOther("big", "big-9", 1),
    )
    assert report.overall.routerless == 3
    assert report.routerless_causes == (("timeout", 2), ("overloaded", 1))


def test_the_last_judgement_of_a_call_counts(url: str) -> None:
    write(
        url,
        outcomes=[
            call("a", quality=0.2),
            call("b", verdict=1),
            call("c"),
            call("d"),
            call("e", day=-1, quality=1.0),
            later("a-1", "of-a", quality=0.4),
            later("a-2", "of-a", verdict=2),
            replace(call("c-1", decision_id="of-c", quality=0.7), attempts=()),
            later("x-1", "of-nothing", quality=0.7),
        ],
    )
    (judged,) = reported(url).judged
    assert (judged.tier, judged.calls) == ("budget", 3)
    assert judged.grade == pytest.approx((0.0 + 1.0 + 0.7) / 3)


def test_judgements_of_no_call_are_counted_apart(url: str) -> None:
    in_march = {"recorded_ms": FIRST_MS, "decided_ms": FIRST_MS}
    write(
        url,
        outcomes=[
            call("a"),
            replace(later("a-1", "of-a", quality=0.4), **in_march),
            replace(later("x-1", "of-nothing", quality=0.7), **in_march),
            later("x-2", "of-nothing", quality=0.7),
        ],
    )
    report = reported(url)
    assert report.callless_judgements == 1
    assert [one.calls for one in report.judged] == [1]


@pytest.mark.parametrize("told_by", ["prompt_id", "text", "decision"])
def test_prompts_that_were_judged_on_several_tiers_make_the_control(url: str, told_by: str) -> None:
    decisions, outcomes = [], []
    for number in range(40):
        chosen = "premium" if number % 4 == 0 else "budget"
        other = "budget" if chosen == "premium" else "premium"
        for kind, tier in ((4, chosen), (1, other)):
            made = decision(
                2 * number + (kind == 1 and told_by != "decision"),
                time_ms=FIRST_MS,
                tier=tier,
                kind=kind,
                metadata={"prompt_id": f"p-{number}"} if told_by == "prompt_id" else None,
                prompt=f"prompt {number}" if told_by == "text" else None,
            )
            decisions.append(made)
            model = "big" if tier == "premium" else "small"
            outcomes.append(
                call(
                    f"{number}-{tier}",
                    attempt(model),
                    decision_id=made.decision_id,
                    tier=tier if told_by != "decision" else chosen,
                    model_id=model,
                    kind=kind if told_by != "decision" else 4,
                    quality=1.0 if tier == "premium" or number % 4 else 0.0,
                )
            )
    write(url, decisions=decisions, outcomes=outcomes)
    found = reported(url).shuffle
    assert isinstance(found, ShuffleControl), found
    assert found.verdict == "better"
    assert (found.router_grade, found.shuffled_grade) == (1.0, 1 - 0.25 * 0.75)
    assert found.router_cost_nano_usd == pytest.approx(0.75 * SMALL_COST + 0.25 * BIG_COST)


def test_an_empty_ledger_has_nothing_to_say(url: str) -> None:
    write(url)
    report = reported(url, "tier")
    assert (report.first_ms, report.overall.calls, report.decisions.decisions) == (None, 0, 0)
    assert report.breakdowns == {"tier": []}
    assert isinstance(report.shuffle, NotIdentifiable)


def test_a_report_never_writes(url: str) -> None:
    write(url, outcomes=[call("a")])
    with opened_ledger(url) as engine:
        statements: list[str] = []
        event.listen(
            engine,
            "before_cursor_execute",
            lambda *arguments: statements.append(arguments[2].split()[0].upper()),
        )
        read_rows(engine, MARCH)
        assert set(statements) == {"SELECT"}
    with (
        pytest.raises(ReportError, match=r"read-?only"),
        opened_ledger(url) as engine,
        engine.begin() as connection,
    ):
        connection.execute(text("DELETE FROM outcomes"))


def test_tables_of_another_release_are_refused(url: str) -> None:
    write(url)
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(ReportError, match="tables are at version 9999, and this release reads"):
        reported(url)


def test_a_database_without_a_ledger_is_refused(url: str, tmp_path: Path) -> None:
    if url.startswith("sqlite"):
        url = f"sqlite:///{tmp_path}/other.sqlite3"
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE something (id INTEGER)"))
    engine.dispose()
    with pytest.raises(ReportError, match="holds no ledger"):
        reported(url)


def test_a_period_of_one_day_has_all_of_it(url: str) -> None:
    day = datetime.date(2026, 3, 2)
    bounds = (FIRST_MS + DAY_MS - 1, FIRST_MS + DAY_MS, FIRST_MS + 2 * DAY_MS - 1)
    times = [*bounds, FIRST_MS + 2 * DAY_MS]
    write(
        url,
        decisions=[decision(number, time_ms=one) for number, one in enumerate(times)],
        outcomes=[outcome(f"o-{one}", decided_ms=one) for one in times],
    )
    report = reported(url, period=Period(since=day, until=day))
    assert (report.overall.calls, report.decisions.decisions) == (2, 2)
