"""The ledger behind a server: what it keeps, what it must not keep, and how it says trouble."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from tests.conftest import (
    CALL_TIMEOUT_S,
    LIKE,
    LIKE_NOTHING,
    MODELS,
    CatalogFolder,
    Serve,
    Served,
    eventually,
    refused,
    write_catalog,
)
from tests.integration.test_explaining import metrics
from tests.unit.server.ledger.postgres import fresh_database, postgres_server
from tests.unit.server.ledger.reading import LedgerReader

from tierwise.v1.error_class_pb2 import ERROR_CLASS_RATE_LIMITED, ERROR_CLASS_TIMEOUT
from tierwise.v1.outcome_pb2 import Attempt, Outcome, RouterlessDecision, Usage
from tierwise.v1.routing_input_pb2 import RoutingInput
from tierwise.v1.routing_service_pb2 import (
    BatchRoutePromptsRequest,
    OutcomeStatus,
    ReportOutcomesRequest,
)
from tierwise_server.ledger.records import Origin, PriceBasis

ACCEPTED = OutcomeStatus.OUTCOME_STATUS_ACCEPTED
DUPLICATE = OutcomeStatus.OUTCOME_STATUS_DUPLICATE
REJECTED = OutcomeStatus.OUTCOME_STATUS_REJECTED
HEALTH = "tierwise.ledger"
SECRET = "zanzibar-4711"  # noqa: S105 - stands for what must not be kept


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of an empty database, of either kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/ledger.sqlite3"
        return
    with fresh_database(request.getfixturevalue("postgres")) as name:
        yield name


@pytest.fixture
def catalog(tmp_path: Path) -> CatalogFolder:
    return write_catalog(tmp_path / "catalog", models=MODELS)


async def report(served: Served, *outcomes: Outcome) -> list[int]:
    response = await served.routing.ReportOutcomes(
        ReportOutcomesRequest(outcomes=outcomes), timeout=CALL_TIMEOUT_S
    )
    return [one.status for one in response.results]


async def written(url: str, decision_id: str) -> Any:  # noqa: ANN401 - a row
    """Returns a decision once it is written."""
    found: list[Any] = []

    async def is_there() -> bool:
        with LedgerReader(url) as reader:
            found[:] = [reader.decision(decision_id)]
        return found[0] is not None

    await eventually(is_there, what="writing a decision")
    return found[0]


def everything_in(folder: Path) -> bytes:
    """Returns what the ledger's files hold."""
    return b"".join(one.read_bytes() for one in folder.glob("ledger.sqlite3*"))


def usage(tokens_in: int, tokens_out: int) -> Usage:
    return Usage(input_token_count=tokens_in, output_token_count=tokens_out)


async def test_a_decision_and_what_became_of_it_are_kept(
    serve: Serve, catalog: CatalogFolder, url: str
) -> None:
    async with serve(catalog, ledger=url) as served:
        decision = await served.route(
            LIKE["budget"],
            caller="billing",
            task_tag="mail",
            expected_tier_id="mid",
            metadata={"team": "blue"},
        )
        outcome = Outcome(
            outcome_id="one",
            decision_token=decision.decision_token,
            attempts=[
                Attempt(model_id="small-fast", error_class=ERROR_CLASS_RATE_LIMITED),
                Attempt(model_id="big-thinker", usage=usage(1000, 10), provider_request_id="r-1"),
            ],
        )
        assert await report(served, outcome, outcome) == [ACCEPTED, DUPLICATE]
        later = Outcome(outcome_id="two", decision_id=decision.decision_id, quality=0.75)
        assert await report(served, later) == [ACCEPTED]
        row = await written(url, decision.decision_id)
    assert (row.tier, row.task, row.caller) == ("budget", "summarization", "billing")
    assert (row.task_tag, row.expected_tier, row.metadata) == ("mail", "mid", '{"team": "blue"}')
    assert (row.kind, row.model_id, row.baseline_model_id) == (4, "small-fast", "big-thinker")
    assert row.similarity == pytest.approx(decision.similarity)
    assert row.estimated_cost_nano_usd == decision.estimated_cost_nano_usd
    with LedgerReader(url) as reader:
        assert reader.prompt(decision.decision_id) is None
        kept = reader.outcome("one")
        assert kept is not None
        assert (kept.decision_id, kept.catalog_revision) == (
            decision.decision_id,
            decision.catalog_revision,
        )
        assert (kept.tier, kept.final_tier, kept.unsuccessful_cost_nano_usd) == (
            "budget",
            "premium",
            0,
        )
        cost = 1000 * 5_000 + 10 * 25_000
        assert (kept.answer_cost_nano_usd, kept.counterfactual_nano_usd) == (cost, cost)
        assert [one.price_basis for one in reader.attempts("one")] == [
            PriceBasis.UNBILLED,
            PriceBasis.DECISION,
        ]
        assert [one.quality for one in reader.judgements(decision.decision_id)] == [0.75]


async def test_every_decision_of_a_batch_is_kept(
    serve: Serve, catalog: CatalogFolder, url: str
) -> None:
    async with serve(catalog, ledger=url) as served:
        inputs = [RoutingInput(prompt=f"{LIKE['mid']} {number}") for number in range(20)]
        response = await served.routing.BatchRoutePrompts(
            BatchRoutePromptsRequest(inputs=inputs), timeout=CALL_TIMEOUT_S
        )
    with LedgerReader(url) as reader:
        assert reader.decision_count() == 20
        for one in response.decisions:
            row = reader.decision(one.decision_id)
            assert row is not None
            assert row.model_id == one.model_id


async def test_prompts_are_kept_only_where_operator_and_caller_allow_it(
    serve: Serve, catalog: CatalogFolder, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/ledger.sqlite3"
    async with serve(catalog, ledger=url, keep_prompts=True) as served:
        allowed = await served.route(LIKE["budget"])
        again = await served.route(LIKE["budget"])
        forbidden = await served.route(f"{LIKE['budget']} {SECRET}", keep_nothing=True)
    with LedgerReader(url) as reader:
        assert reader.prompt(allowed.decision_id) == LIKE["budget"]
        assert reader.prompt(again.decision_id) == LIKE["budget"]
        assert reader.decision(forbidden.decision_id) is not None
        assert reader.prompt(forbidden.decision_id) is None


@pytest.mark.parametrize("keep_prompts", [False, True])
async def test_nothing_of_a_prompt_is_kept_where_the_caller_forbids_it(
    serve: Serve, catalog: CatalogFolder, tmp_path: Path, keep_prompts: bool
) -> None:
    path = tmp_path / "ledger.sqlite3"
    async with serve(catalog, ledger=f"sqlite:///{path}", keep_prompts=keep_prompts) as served:
        decision = await served.route(
            f"{LIKE['premium']} {SECRET}",
            keep_nothing=True,
            caller="clinic",
            task_tag=SECRET,
            metadata={"about": SECRET},
            expected_tier_id="mid",
        )
        outcome = Outcome(
            outcome_id="one",
            decision_token=decision.decision_token,
            attempts=[
                Attempt(model_id="big-thinker", usage=usage(10, 1), provider_request_id=SECRET)
            ],
        )
        assert await report(served, outcome) == [ACCEPTED]
    with LedgerReader(f"sqlite:///{path}") as reader:
        row = reader.decision(decision.decision_id)
        assert row is not None
        told = ("tier", "model_id", "caller", "keep_nothing")
        assert [row._mapping[name] for name in told] == ["premium", "big-thinker", "clinic", 1]
        silent = (
            "task", "rule_name", "score", "score_threshold", "margin", "similarity", "task_tag",
            "expected_tier", "metadata", "estimated_cost_nano_usd", "counterfactual_nano_usd",
            "estimated_input_tokens", "assumed_output_tokens",
        )  # fmt: skip
        assert not any(row._mapping[name] for name in silent)
        kept = reader.outcome("one")
        assert kept is not None
        assert (kept.task, kept.expected_tier, kept.keep_nothing) == ("", "", 1)
        assert reader.attempts("one")[0].provider_request_id == ""
    assert SECRET.encode() not in everything_in(tmp_path)


async def test_a_decision_without_a_router_is_kept_with_its_cause(
    serve: Serve, catalog: CatalogFolder, url: str
) -> None:
    async with serve(catalog, ledger=url) as served:
        decision = RouterlessDecision(decision_id="mine", tier_id="mid", caller="billing", cause=2)
        decision.decision_time.GetCurrentTime()
        outcome = Outcome(
            outcome_id="one",
            routerless_decision=decision,
            attempts=[
                Attempt(model_id="gone", error_class=ERROR_CLASS_TIMEOUT),
                Attempt(model_id="middle", usage=usage(100, 10)),
            ],
        )
        assert await report(served, outcome) == [ACCEPTED]
    with LedgerReader(url) as reader:
        row = reader.outcome("one")
        assert row is not None
        assert (row.origin, row.routerless_cause, row.tier) == (Origin.ROUTERLESS, 2, "mid")
        # The catalog in service prices it; what the late call cost is not known.
        assert (row.answer_cost_nano_usd, row.unpriced_count) == (100 * 1000 + 10 * 3000, 1)
        assert row.counterfactual_nano_usd == 100 * 5000 + 10 * 25_000
        assert (row.catalog, row.baseline_model_id) == ("default", "big-thinker")


async def test_a_reload_does_not_change_what_decisions_before_it_cost(
    serve: Serve, catalog: CatalogFolder, url: str
) -> None:
    used = [Attempt(model_id="small-fast", usage=usage(1000, 0))]
    async with serve(catalog, ledger=url, reload_interval_s=0.1) as served:
        before = await served.route(LIKE["budget"])
        catalog.replace("models.yaml", "input: 0.15", "input: 3")

        async def is_reloaded() -> bool:
            decision = await served.route(LIKE["budget"])
            return decision.catalog_revision != before.catalog_revision

        await eventually(is_reloaded, what="the reload")
        after = await served.route(LIKE["budget"])
        outcomes = [
            Outcome(outcome_id=name, decision_token=one.decision_token, attempts=used)
            for name, one in (("before", before), ("after", after))
        ]
        assert await report(served, *outcomes) == [ACCEPTED, ACCEPTED]
    with LedgerReader(url) as reader:
        costs = [reader.attempts(name)[0].cost_nano_usd for name in ("before", "after")]
    assert costs == [150_000, 3_000_000]


@pytest_asyncio.fixture(loop_scope="session")
async def unavailable(
    serve: Serve, catalog: CatalogFolder, tmp_path: Path
) -> AsyncIterator[tuple[Served, str, Callable[[], None]]]:
    """A server whose ledger another process has locked, and what unlocks it."""
    path = tmp_path / "ledger.sqlite3"
    url = f"sqlite:///{path}"
    async with serve(catalog, ledger=url, metrics_listen="127.0.0.1:0") as served:
        assert await served.health_of(HEALTH) == "SERVING"
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield served, url, lambda: other.execute("ROLLBACK") and None


async def test_routing_goes_on_while_the_ledger_is_unavailable(
    unavailable: tuple[Served, str, Callable[[], None]],
) -> None:
    served, url, unlock = unavailable
    first = await served.route(LIKE["budget"])
    outcome = Outcome(outcome_id="one", decision_token=first.decision_token, quality=1.0)
    answer = await refused(report(served, outcome))
    assert (answer.code, answer.reason) == (grpc.StatusCode.UNAVAILABLE, "NOT_READY")
    assert answer.retry_after_s == 5.0
    assert await served.health_of(HEALTH) == "NOT_SERVING"
    assert await served.health_of("") == "SERVING"
    second = await served.route(LIKE["mid"])
    figures = await metrics(served)
    assert float(figures["tierwise_ledger_available"]) == 0
    assert float(figures["tierwise_ledger_queue_depth"]) == 2
    unlock()

    async def is_back() -> bool:
        return await served.health_of(HEALTH) == "SERVING"

    await eventually(is_back, within_s=15, what="recovery")
    assert await report(served, outcome) == [ACCEPTED]
    for one in (first, second):
        assert (await written(url, one.decision_id)).tier == one.tier_id
    figures = await metrics(served)
    assert float(figures["tierwise_ledger_available"]) == 1
    assert float(figures['tierwise_outcomes_total{result="accepted"}']) == 1
    assert float(figures['tierwise_ledger_rows_total{kind="decision"}']) == 2
    assert float(figures["tierwise_ledger_dropped_decisions_total"]) == 0


async def test_a_ledger_that_cannot_be_opened_keeps_nobody_from_routing(
    serve: Serve, catalog: CatalogFolder, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    async with serve(catalog, ledger=f"sqlite:///{tmp_path}/file/ledger.sqlite3") as served:
        assert await served.health_of(HEALTH) == "NOT_SERVING"
        decision = await served.route(LIKE_NOTHING)
        outcome = Outcome(outcome_id="one", decision_token=decision.decision_token, quality=1.0)
        assert (await refused(report(served, outcome))).code is grpc.StatusCode.UNAVAILABLE


async def test_without_a_ledger_outcomes_are_checked_and_taken(
    serve: Serve, catalog: CatalogFolder
) -> None:
    async with serve(catalog, ledger="none") as served:
        decision = await served.route(LIKE["budget"])
        outcome = Outcome(outcome_id="one", decision_token=decision.decision_token, quality=1.0)
        faulty = Outcome(outcome_id="two", decision_token="x", quality=1.0)  # noqa: S106
        assert await report(served, outcome, outcome, faulty) == [ACCEPTED, DUPLICATE, REJECTED]
        assert await served.health_of(HEALTH) == "NOT_FOUND"


async def test_duplicates_are_known_after_a_restart(
    serve: Serve, catalog: CatalogFolder, url: str
) -> None:
    async with serve(catalog, ledger=url) as served:
        token = (await served.route(LIKE["budget"])).decision_token
        outcome = Outcome(outcome_id="one", decision_token=token, quality=1.0)
        assert await report(served, outcome) == [ACCEPTED]
    async with serve(catalog, ledger=url) as served:
        assert await report(served, outcome) == [DUPLICATE]
