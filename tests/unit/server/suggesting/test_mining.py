"""What of a ledger is worth learning from."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from tests.conftest import write_catalog
from tests.unit.server.ledger.conftest import NOW_MS, attempt, decision, outcome, sqlite_url
from tests.unit.server.reporting.conftest import write

from tierwise_server.catalog.loader import load_catalog
from tierwise_server.deciding.decision import DecisionKind
from tierwise_server.planning.plan import StepKind
from tierwise_server.reporting.rows import Period
from tierwise_server.suggesting.errors import SuggestError
from tierwise_server.suggesting.mining import mined

__all__ = ["sqlite_url"]


def period() -> Period:
    day = datetime.datetime.fromtimestamp(NOW_MS / 1000, datetime.UTC).date()
    return Period(since=day, until=day)


def test_only_what_went_wrong_or_was_unclear_is_taken(tmp_path: Path, sqlite_url: str) -> None:
    catalog = load_catalog(write_catalog(tmp_path / "catalog").path)
    decisions = [
        decision(1, prompt="all went well", margin=0.4),
        decision(2, prompt="should be premium", expected_tier="premium"),
        decision(3, prompt="escalated, and well then"),
        decision(4, prompt="judged bad"),
        decision(5, prompt="matched nothing", kind=int(DecisionKind.DEFAULT)),
        decision(6, prompt="unclear", margin=0.01),
        decision(7, margin=0.01),
        decision(8, prompt="unclear", margin=0.02),
    ]
    ids = [one.decision_id for one in decisions]
    write(
        sqlite_url,
        decisions=decisions,
        outcomes=[
            outcome(
                "a",
                attempt("small", error_class=12),
                attempt("big", step_kind=int(StepKind.ESCALATION)),
                decision_id=ids[2],
            ),
            outcome("b", decision_id=ids[3], quality=0.1),
            outcome("c", decision_id=ids[0], quality=0.9),
        ],
    )
    found = {one.text: (one.tier, one.source) for one in mined(sqlite_url, catalog, period())}
    assert found == {
        "should be premium": ("premium", "expected in premium"),
        "escalated, and well then": ("premium", "escalated from budget"),
        "judged bad": ("", "judged bad in budget"),
        "matched nothing": ("", "matched nothing"),
        "unclear": ("", "low margin 0.02"),
    }


def test_a_ledger_without_prompts_says_how_to_keep_some(tmp_path: Path, sqlite_url: str) -> None:
    catalog = load_catalog(write_catalog(tmp_path / "catalog").path)
    write(sqlite_url, decisions=[decision(1)])
    with pytest.raises(SuggestError, match="--keep-prompts"):
        list(mined(sqlite_url, catalog, period()))
