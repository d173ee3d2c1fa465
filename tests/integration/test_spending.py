"""Spend limits over a real channel: warn, cap, refuse, and what a restart knows."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path

import grpc
import httpx
import pytest
from tests.conftest import (
    CALL_TIMEOUT_S,
    LIKE,
    MODELS,
    CatalogFolder,
    Refusal,
    Serve,
    Served,
    eventually,
    refusal_of,
    refused,
)

from tierwise.v1.catalog_service_pb2 import ReloadCatalogRequest
from tierwise.v1.decision_pb2 import Decision
from tierwise.v1.outcome_pb2 import Attempt, Outcome, Usage
from tierwise.v1.routing_input_pb2 import Constraints, RoutingInput
from tierwise.v1.routing_service_pb2 import (
    BatchRoutePromptsRequest,
    ExplainDecisionRequest,
    OutcomeStatus,
    ReportOutcomesRequest,
)

BOT = "billing-bot"
DOLLAR = 10**9
MILLION = 1_000_000

_numbers = itertools.count()


@pytest.fixture
def folder(catalog: CatalogFolder) -> CatalogFolder:
    """The small catalog with one model in each tier."""
    catalog.write("models.yaml", MODELS)
    return catalog


@pytest.fixture
def ledger(tmp_path: Path) -> str:
    """URL of a ledger of the test's own."""
    return f"sqlite:///{tmp_path / 'ledger.sqlite3'}"


def limits(*entries: str) -> str:
    """Returns the text of `limits.yaml`."""
    return "spending:\n" + "".join(f"  - {{{entry}}}\n" for entry in entries)


async def spend(
    served: Served, decision: Decision, nano_usd: int, outcome_id: str = ""
) -> OutcomeStatus.ValueType:
    """Reports a call of a stated cost, and returns what became of the report."""
    outcome = Outcome(
        outcome_id=outcome_id or f"spend-{next(_numbers)}",
        decision_token=decision.decision_token,
        attempts=[Attempt(model_id=decision.model_id, cost_nano_usd=nano_usd)],
    )
    response = await served.routing.ReportOutcomes(
        ReportOutcomesRequest(outcomes=[outcome]), timeout=CALL_TIMEOUT_S
    )
    status: OutcomeStatus.ValueType = response.results[0].status
    return status


async def is_refused(served: Served, caller: str = BOT) -> Refusal:
    """Waits until a caller is refused."""
    found: list[Refusal] = []

    async def refuses() -> bool:
        refusal = await refusal_of(served.route(LIKE["budget"], caller=caller))
        found.extend([refusal] if refusal is not None else [])
        return bool(found)

    await eventually(refuses, what="a refusal")
    return found[0]


async def decision_says(
    served: Served, words: str, holds: Callable[[Decision], bool] = lambda _: True
) -> Decision:
    """Waits until the reason of the bot's decisions says something."""
    decision = Decision()

    async def says() -> bool:
        decision.CopyFrom(await served.route(LIKE["premium"], caller=BOT))
        return words in decision.reason and holds(decision)

    await eventually(says, what=f"a decision that says {words!r}")
    return decision


async def test_a_caller_that_has_spent_its_limit_is_refused_and_others_are_not(
    serve: Serve, folder: CatalogFolder, ledger: str
) -> None:
    folder.write("limits.yaml", limits(f"caller: {BOT}, per: day, usd: 2, at_limit: refuse"))
    async with serve(folder, ledger=ledger, metrics_listen="127.0.0.1:0") as served:
        first = await served.route(LIKE["budget"], caller=BOT)
        await spend(served, first, 2 * DOLLAR)
        refusal = await is_refused(served)
        assert refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert refusal.reason == "SPEND_LIMIT_REACHED"
        assert refusal.metadata["caller"] == BOT
        assert refusal.metadata["limit_nano_usd"] == str(2 * DOLLAR)
        assert refusal.metadata["period"] == "day"
        assert refusal.metadata["reset_time"].endswith("T00:00:00Z")
        assert "limits.yaml:2" in refusal.message
        batch = BatchRoutePromptsRequest(
            inputs=[RoutingInput(prompt="hi", caller=caller) for caller in ("", BOT)]
        )
        answer = await refused(served.routing.BatchRoutePrompts(batch, timeout=CALL_TIMEOUT_S))
        assert answer.reason == "SPEND_LIMIT_REACHED"
        explain = ExplainDecisionRequest(input=RoutingInput(prompt="hi", caller=BOT))
        answer = await refused(served.routing.ExplainDecision(explain, timeout=CALL_TIMEOUT_S))
        assert answer.reason == "SPEND_LIMIT_REACHED"
        assert (await served.route(LIKE["budget"], caller="other")).model_id
        assert (await served.route(LIKE["budget"])).model_id
        async with httpx.AsyncClient() as reader:
            page = await reader.get(f"http://127.0.0.1:{served.server.metrics_port}/metrics")
        labels = f'caller="{BOT}",catalog="default",period="day"'
        assert f"tierwise_spend_usd{{{labels}}} 2.0" in page.text.replace(
            f'catalog="default",caller="{BOT}",period="day"', labels
        )
        assert "tierwise_spend_limit_decisions_total{" in page.text


async def test_a_cap_holds_the_decision_and_every_step_of_its_plan(
    serve: Serve, folder: CatalogFolder, ledger: str
) -> None:
    folder.write(
        "limits.yaml", limits(f"caller: {BOT}, per: month, usd: 1, at_limit: cap, tier: budget")
    )
    async with serve(folder, ledger=ledger) as served:
        before = await served.route(LIKE["premium"], caller=BOT)
        assert before.tier_id == "premium"
        await spend(served, before, DOLLAR)
        after = await decision_says(served, "moves it to budget")
        assert after.tier_id == "budget"
        assert {step.model.tier_id for step in after.plan.steps} == {"budget"}
        cheap = await served.route(LIKE["budget"], caller=BOT)
        assert {step.model.tier_id for step in cheap.plan.steps} == {"budget"}
        assert (await served.route(LIKE["premium"])).tier_id == "premium"
        for constraints in (
            Constraints(pinned_tier_id="premium"),
            Constraints(pinned_model_id="middle"),
            Constraints(lowest_tier_id="mid"),
        ):
            answer = await refused(
                served.route(LIKE["budget"], caller=BOT, constraints=constraints)
            )
            assert answer.reason == "SPEND_LIMIT_REACHED"
            assert "budget" in answer.message


async def test_a_warning_changes_nothing_but_the_reason(
    serve: Serve, folder: CatalogFolder, ledger: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder.write("limits.yaml", limits(f"caller: {BOT}, per: day, usd: 0.5, at_limit: warn"))
    async with serve(folder, ledger=ledger) as served:
        first = await served.route(LIKE["premium"], caller=BOT)
        await spend(served, first, DOLLAR // 2)
        warned = await decision_says(served, "is reached")
        assert warned.tier_id == "premium"
        for _ in range(3):
            await served.route(LIKE["premium"], caller=BOT)
    said = [one for one in caplog.records if one.message == "a spend limit is reached"]
    assert len(said) == 1


async def test_a_limit_without_a_caller_counts_all_of_them(
    serve: Serve, folder: CatalogFolder, ledger: str
) -> None:
    folder.write("limits.yaml", limits("per: day, usd: 3, at_limit: refuse"))
    async with serve(folder, ledger=ledger) as served:
        for caller in ("one", "two", ""):
            await spend(served, await served.route(LIKE["budget"], caller=caller), DOLLAR)
        assert (await is_refused(served, "three")).metadata["caller"] == ""
        # Also where the prompt is all there is, which is answered from memory else.
        assert (await is_refused(served, "")).reason == "SPEND_LIMIT_REACHED"


async def test_a_report_that_comes_twice_counts_once(
    serve: Serve, folder: CatalogFolder, ledger: str
) -> None:
    folder.write("limits.yaml", limits(f"caller: {BOT}, per: day, usd: 2, at_limit: refuse"))
    async with serve(folder, ledger=ledger) as served:
        decision = await served.route(LIKE["budget"], caller=BOT)
        statuses = [await spend(served, decision, DOLLAR, "the-same") for _ in range(5)]
        assert statuses[1:] == [OutcomeStatus.OUTCOME_STATUS_DUPLICATE] * 4
        assert (await served.route(LIKE["budget"], caller=BOT)).model_id
        await spend(served, decision, DOLLAR, "another")
        await is_refused(served)


@pytest.mark.parametrize("keeps_ledger", [True, False])
async def test_concurrent_calls_overshoot_by_one_estimate_at_most(
    serve: Serve, folder: CatalogFolder, ledger: str, keeps_ledger: bool
) -> None:
    # A call of a million tokens of input and output costs 0.75 USD on the cheapest model.
    folder.write("limits.yaml", limits(f"caller: {BOT}, per: day, usd: 2, at_limit: refuse"))
    folder.replace(
        "models.yaml",
        "context_window: 128000\n    max_output_tokens: 16000\n"
        "    capabilities: [tools, json_schema, vision]",
        "context_window: 9000000\n"
        "    max_output_tokens: 9000000\n    capabilities: [tools, json_schema, vision]",
    )
    async with serve(folder, ledger=ledger if keeps_ledger else "none") as served:
        sized = {
            "caller": BOT,
            "expected_output_token_count": MILLION,
            "input_token_count": MILLION,
            "constraints": Constraints(pinned_model_id="small-fast"),
        }
        answers = await asyncio.gather(
            *(served.route(f"{LIKE['budget']} {n}", **sized) for n in range(12)),
            return_exceptions=True,
        )
        made = [one for one in answers if isinstance(one, Decision)]
        assert [one.estimated_cost_nano_usd for one in made] == [3 * DOLLAR // 4] * 3
        usage = Usage(input_token_count=MILLION, output_token_count=MILLION)
        request = ReportOutcomesRequest(
            outcomes=[
                Outcome(
                    outcome_id=f"million-{keeps_ledger}-{number}",
                    decision_token=one.decision_token,
                    attempts=[Attempt(model_id="small-fast", usage=usage)],
                )
                for number, one in enumerate(made)
            ]
        )
        await served.routing.ReportOutcomes(request, timeout=CALL_TIMEOUT_S)
        await is_refused(served)


async def test_what_was_held_back_is_free_again_when_the_call_was_cheaper(
    serve: Serve, folder: CatalogFolder, ledger: str
) -> None:
    folder.write("limits.yaml", limits(f"caller: {BOT}, per: day, usd: 0.0001, at_limit: refuse"))
    async with serve(folder, ledger=ledger) as served:
        # 500 tokens of output on the dearest model are more than the limit by themselves.
        decision = await served.route(LIKE["premium"], caller=BOT)
        await is_refused(served)
        await spend(served, decision, 0)

        async def goes_on() -> bool:
            return await refusal_of(served.route(LIKE["budget"], caller=BOT)) is None

        await eventually(goes_on, what="a decision after the cheap call")


async def test_a_restarted_server_knows_what_was_spent(
    serve: Serve, folder: CatalogFolder, ledger: str
) -> None:
    folder.write("limits.yaml", limits(f"caller: {BOT}, per: month, usd: 2, at_limit: refuse"))
    async with serve(folder, ledger=ledger) as served:
        for _ in range(2):
            await spend(served, await served.route(LIKE["budget"], caller=BOT), DOLLAR)
    async with serve(folder, ledger=ledger) as served:
        answer = await refused(served.route(LIKE["budget"], caller=BOT))
        assert answer.reason == "SPEND_LIMIT_REACHED"


async def test_a_limit_that_is_added_counts_what_was_spent_before(
    serve: Serve, folder: CatalogFolder, ledger: str
) -> None:
    async with serve(folder, ledger=ledger) as served:
        await spend(served, await served.route(LIKE["budget"], caller=BOT), DOLLAR)
        folder.write("limits.yaml", limits(f"caller: {BOT}, per: day, usd: 1, at_limit: refuse"))
        await served.catalogs.ReloadCatalog(ReloadCatalogRequest(), timeout=CALL_TIMEOUT_S)
        await is_refused(served)
        folder.replace("limits.yaml", "usd: 1,", "usd: 1.5,")
        await served.catalogs.ReloadCatalog(ReloadCatalogRequest(), timeout=CALL_TIMEOUT_S)
        assert (await served.route(LIKE["budget"], caller=BOT)).model_id


async def test_a_model_of_unknown_price_is_no_choice_for_a_caller_with_a_limit(
    serve: Serve, folder: CatalogFolder
) -> None:
    folder.replace("models.yaml", "price: {input: 0.15, output: 0.60}", "price: unknown")
    folder.write("limits.yaml", limits(f"caller: {BOT}, per: day, usd: 1, at_limit: refuse"))
    async with serve(folder, ledger="none") as served:
        assert (await served.route(LIKE["budget"])).model_id == "small-fast"
        assert (await served.route(LIKE["budget"], caller=BOT)).model_id == "middle"
        explained = await served.routing.ExplainDecision(
            ExplainDecisionRequest(input=RoutingInput(prompt=LIKE["budget"], caller=BOT)),
            timeout=CALL_TIMEOUT_S,
        )
        reasons = {one.model_id: one.constraint for one in explained.explanation.dropped_models}
        assert reasons["small-fast"] == "price-unknown"
