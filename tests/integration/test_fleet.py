"""What outcomes tell of the models changes the plans that come after, over a real channel."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest
from google.protobuf.duration_pb2 import Duration
from tests.conftest import (
    CALL_TIMEOUT_S,
    LIKE,
    CatalogFolder,
    Serve,
    Served,
    eventually,
    write_catalog,
)

from tierwise.v1.decision_pb2 import Decision
from tierwise.v1.error_class_pb2 import ErrorClass
from tierwise.v1.outcome_pb2 import Attempt, Outcome, RateHeadroom, Usage
from tierwise.v1.routing_input_pb2 import PRIORITY_LATENCY, RoutingInput
from tierwise.v1.routing_service_pb2 import ExplainDecisionRequest, ReportOutcomesRequest

MODEL = """\
  - id: {id}
    provider: {provider}
    name: {id}-1
    tier: {tier}
    price: {{input: {price}, output: {price}}}
    context_window: 128000
    max_output_tokens: 16000
    limits: {{requests_per_minute: {limit}}}
"""


def models(*rows: tuple[str, str, str, float, int]) -> str:
    """Returns a registry of models by id, provider, tier, price and requests a minute."""
    fields = ("id", "provider", "tier", "price", "limit")
    return "models:\n" + "".join(
        MODEL.format(**dict(zip(fields, row, strict=True))) for row in rows
    )


MODELS = models(
    ("first", "openai", "budget", 1, 1000),
    ("second", "mistral", "budget", 1.5, 1000),
    ("middle", "google", "mid", 3, 1000),
    ("large", "anthropic", "premium", 9, 1000),
)

_numbers = itertools.count()


@pytest.fixture
def folder(catalog: CatalogFolder) -> CatalogFolder:
    """The small catalog with two models in its cheapest tier."""
    catalog.write("models.yaml", MODELS)
    return catalog


def steps(decision: Decision) -> list[str]:
    """Returns the models of a decision's plan."""
    return [step.model.model_id for step in decision.plan.steps]


async def report(served: Served, decision: Decision, *attempts: Attempt) -> None:
    """Reports what became of a decision."""
    await report_all(served, [(decision, attempts)])


async def report_all(
    served: Served, outcomes: Sequence[tuple[Decision, Sequence[Attempt]]]
) -> None:
    """Reports what became of several."""
    request = ReportOutcomesRequest(
        outcomes=[
            Outcome(
                outcome_id=f"fleet-{next(_numbers)}",
                decision_token=decision.decision_token,
                attempts=attempts,
            )
            for decision, attempts in outcomes
        ]
    )
    response = await served.routing.ReportOutcomes(request, timeout=CALL_TIMEOUT_S)
    assert not [one.violations for one in response.results if one.violations]


async def plan_becomes(
    served: Served, expected: Sequence[str], prompt: str = LIKE["budget"], **fields: int
) -> Decision:
    """Waits until a prompt's plan begins with these models."""
    decision = Decision()

    async def is_so() -> bool:
        decision.CopyFrom(await served.route(prompt, **fields))
        return steps(decision)[: len(expected)] == list(expected)

    await eventually(is_so, what=f"a plan {expected}")
    return decision


def failed(model: str, error_class: ErrorClass.ValueType, count: int = 1) -> list[Attempt]:
    return [Attempt(model_id=model, error_class=error_class)] * count


@pytest.mark.parametrize("ledger", ["", "none"])
async def test_plans_avoid_a_failing_model_and_say_why(
    serve: Serve, folder: CatalogFolder, ledger: str, tmp_path: Path
) -> None:
    url = ledger or f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    async with serve(folder, ledger=url, metrics_listen="127.0.0.1:0") as served:
        before = await served.route(LIKE["budget"])
        assert steps(before)[:2] == ["first", "second"]
        assert before.fleet_revision == ""
        await report(served, before, *failed("first", ErrorClass.ERROR_CLASS_SERVER_ERROR, 3))
        after = await plan_becomes(served, ["second"])
        assert "first" not in steps(after)
        assert after.fleet_revision
        again = await served.route(LIKE["budget"])
        assert again.fleet_revision == after.fleet_revision
        explained = await served.routing.ExplainDecision(
            ExplainDecisionRequest(input=RoutingInput(prompt=LIKE["budget"])),
            timeout=CALL_TIMEOUT_S,
        )
        (dropped,) = [
            one for one in explained.explanation.dropped_models if one.model_id == "first"
        ]
        assert dropped.constraint == "unhealthy"
        assert "cools down" in dropped.description
        async with httpx.AsyncClient() as reader:
            page = await reader.get(f"http://127.0.0.1:{served.server.metrics_port}/metrics")
        metrics = page.text
        assert 'tierwise_model_available{catalog="default",model="first"} 0.0' in metrics
        assert 'tierwise_model_error_ratio{catalog="default",model="first"} 1.0' in metrics


async def test_failures_that_lie_in_the_request_leave_a_model_alone(
    serve: Serve, folder: CatalogFolder
) -> None:
    async with serve(folder, ledger="none") as served:
        decision = await served.route(LIKE["budget"])
        for error_class in (
            ErrorClass.ERROR_CLASS_CONTENT_POLICY,
            ErrorClass.ERROR_CLASS_INVALID_REQUEST,
            ErrorClass.ERROR_CLASS_CANCELLED,
            ErrorClass.ERROR_CLASS_REJECTED_BY_VALIDATOR,
            ErrorClass.ERROR_CLASS_CONTEXT_TOO_LONG,
        ):
            await report(served, decision, *failed("first", error_class, 20))
        # Told apart from a view that is not there yet by a model that did fail.
        await report(served, decision, *failed("middle", ErrorClass.ERROR_CLASS_OVERLOADED, 3))
        await plan_becomes(served, ["large"], LIKE["mid"])
        assert steps(await served.route(LIKE["budget"]))[0] == "first"


async def test_better_an_ill_model_than_none(serve: Serve, folder: CatalogFolder) -> None:
    async with serve(folder, ledger="none") as served:
        decision = await served.route(LIKE["budget"])
        for model in ("first", "second", "middle", "large"):
            timeouts = failed(model, ErrorClass.ERROR_CLASS_TIMEOUT, 3)
            await report(served, decision, *timeouts)

        async def all_are_ill() -> bool:
            view = await served.route(LIKE["budget"])
            return bool(view.fleet_revision) and steps(view)[0] == "first"

        await eventually(all_are_ill, what="a plan by models that are all ill")


async def test_a_model_without_headroom_is_passed_over_until_it_has_some(
    serve: Serve, folder: CatalogFolder
) -> None:
    async with serve(folder, ledger="none") as served:
        decision = await served.route(LIKE["budget"])
        exhausted = RateHeadroom(remaining_request_count=0, reset_duration=Duration(seconds=2))
        await report(served, decision, Attempt(model_id="first", rate_headroom=exhausted))
        await plan_becomes(served, ["second"])
        await plan_becomes(served, ["first"])


async def test_latency_priority_prefers_the_model_that_was_faster(
    serve: Serve, folder: CatalogFolder
) -> None:
    async with serve(folder, ledger="none") as served:
        decision = await served.route(LIKE["budget"])
        assert steps(await served.route(LIKE["budget"], priority=PRIORITY_LATENCY))[0] == "first"
        for _ in range(4):
            await report(
                served,
                decision,
                Attempt(model_id="first", call_duration=Duration(seconds=8)),
                Attempt(model_id="second", call_duration=Duration(seconds=1)),
            )
        await plan_becomes(served, ["second", "first"], priority=PRIORITY_LATENCY)
        assert steps(await served.route(LIKE["budget"]))[:2] == ["first", "second"]


async def test_equal_models_share_calls_by_the_use_of_their_limits(
    serve: Serve, tmp_path: Path
) -> None:
    equal = models(
        ("east", "openai", "budget", 1, 20),
        ("west", "azure", "budget", 1, 20),
        ("middle", "google", "mid", 3, 20),
        ("large", "anthropic", "premium", 9, 20),
    )
    twins = write_catalog(tmp_path / "twins", models=equal)
    async with serve(twins, ledger="none") as served:
        decision = await plan_becomes(served, ["east"])
        usage = Usage(input_token_count=10, output_token_count=10)
        await report(served, decision, *[Attempt(model_id="east", usage=usage)] * 10)
        decision = await plan_becomes(served, ["west"])
        await report(served, decision, *[Attempt(model_id="west", usage=usage)] * 16)
        await plan_becomes(served, ["east"])


async def test_a_burst_of_outcomes_does_not_hold_up_decisions(
    serve: Serve, folder: CatalogFolder
) -> None:
    async with serve(folder, ledger="none") as served:
        decision = await served.route(LIKE["budget"])
        for _ in range(10):
            attempt = Attempt(model_id="first", call_duration=Duration(seconds=1))
            await report_all(served, [(decision, [attempt])] * 1000)
            assert steps(await served.route(LIKE["budget"]))[0] == "first"
