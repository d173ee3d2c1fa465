"""Databases of both kinds, and records to put into them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.unit.server.ledger.postgres import fresh_database, postgres_server

from tierwise_server.ledger.money import Tokens
from tierwise_server.ledger.pricing import SettledOutcome
from tierwise_server.ledger.records import (
    AttemptRecord,
    CatalogModel,
    CatalogRecord,
    DecisionRecord,
    Origin,
    OutcomeRecord,
)
from tierwise_server.planning.prices import PriceBand, ResolvedPrice

NOW_MS = time.time_ns() // 1_000_000


def price(
    input_price: int, output_price: int, cached: int | None = None, source: str = "models.yaml"
) -> ResolvedPrice:
    """Returns a price in nano-dollars a million tokens."""
    band = PriceBand(input=input_price, output=output_price, cached_input=cached)
    return ResolvedPrice(bands=(band,), source=source)


CHEAP = price(150_000_000, 600_000_000)
DEAR = price(5_000_000_000, 25_000_000_000)


def catalog(revision: str = "r1", **changes: object) -> CatalogRecord:
    """Returns a catalog of a cheap model, a dear one and one of unknown price."""
    values = {
        "revision": revision,
        "catalog": "default",
        "encoder_id": "encoder",
        "scorer_id": "scorer",
        "tiers": ("budget", "premium"),
        "baseline_model_id": "big",
        "models": {
            "small": CatalogModel(provider="openai", name="small-1", tier="budget", price=CHEAP),
            "big": CatalogModel(provider="anthropic", name="big-1", tier="premium", price=DEAR),
            "own": CatalogModel(provider="openai", name="gpt-4o", tier="budget", price=None),
        },
        **changes,
    }
    return CatalogRecord(**values)  # type: ignore[arg-type]


def attempt(model_id: str = "small", **changes: object) -> AttemptRecord:
    """Returns a call that succeeded."""
    values = {"model_id": model_id, "tokens": Tokens(input=1000, output=100), **changes}
    return AttemptRecord(**values)  # type: ignore[arg-type]


def outcome(outcome_id: str, *attempts: AttemptRecord, **changes: object) -> OutcomeRecord:
    """Returns what became of a decision for the cheap model."""
    values = {
        "outcome_id": outcome_id,
        "origin": Origin.ROUTER,
        "decision_id": f"of-{outcome_id}",
        "decided_ms": NOW_MS,
        "recorded_ms": NOW_MS,
        "catalog": "default",
        "catalog_revision": "r1",
        "tier": "budget",
        "model_id": "small",
        "baseline_model_id": "big",
        "attempts": attempts or (attempt(),),
        **changes,
    }
    return OutcomeRecord(**values)  # type: ignore[arg-type]


def decision(number: int, *, time_ms: int = NOW_MS, **changes: object) -> DecisionRecord:
    """Returns a decision for the cheap model."""
    values = {
        "decision_id": f"{time_ms:012x}{number:020x}",
        "catalog": "default",
        "catalog_revision": "r1",
        "tier": "budget",
        "kind": 4,
        "model_id": "small",
        "baseline_model_id": "big",
        "propensity": None,
        "caller": "billing",
        "keep_nothing": False,
        "queue_s": 0.0,
        "encoding_s": 0.001,
        "scoring_s": 0.0001,
        "total_s": 0.0015,
        "vector_cached": False,
        **changes,
    }
    return DecisionRecord(**values)  # type: ignore[arg-type]


@dataclass(slots=True)
class Counts:
    """What a ledger says that it did."""

    decisions: int = 0
    outcomes: int = 0
    batches: int = 0
    dropped: int = 0
    settled: list[str] = field(default_factory=list)
    available: list[bool] = field(default_factory=list)

    def ledger_wrote(self, decisions: int, outcomes: int, seconds: float) -> None:
        """Counts a batch."""
        self.decisions += decisions
        self.outcomes += outcomes
        self.batches += 1

    def outcomes_settled(self, outcomes: Iterable[SettledOutcome]) -> None:
        """Notes what was new."""
        self.settled.extend(one.record.outcome_id for one in outcomes)

    def ledger_dropped(self, decisions: int) -> None:
        """Counts lost decisions."""
        self.dropped += decisions

    def ledger_available(self, available: bool) -> None:
        """Notes each change."""
        if self.available[-1:] != [available]:
            self.available.append(available)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of a PostgreSQL server."""
    with postgres_server() as url:
        yield url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """URL of a SQLite file that is not there yet."""
    return f"sqlite:///{tmp_path}/deep/ledger.sqlite3"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of an empty database, of either kind."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_url")
        return
    with fresh_database(request.getfixturevalue("postgres")) as name:
        yield name
