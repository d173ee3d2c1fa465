"""A share of the calls repeated on the baseline model, judged and reported."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import LIKE, StartServe, write_catalog
from tests.integration.client.conftest import MODELS, World

from tierwise import ErrorClass, InvalidRequestError, RoutingOptions, Usage
from tierwise.auditing import Auditor, Pair
from tierwise.testing import ProviderServer, Reply

USAGE = Usage(input_tokens=1000, output_tokens=200)
BIG = 1000 * 5000 + 200 * 25000
"""Nano-dollars of `USAGE` on the baseline model."""


def auditor(world: World, judge: Any, **changes: Any) -> Auditor:  # noqa: ANN401 - any of its settings
    values = {"share": 1.0, "daily_budget_usd": 1.0, "settings": world.settings(), **changes}
    return Auditor(judge, router=world.router, providers=world.provider_settings(), **values)


def test_a_judged_repeat_ends_in_the_ledger(
    start_serve: StartServe, tmp_path: Path, providers: ProviderServer
) -> None:
    catalog = write_catalog(tmp_path / "catalog", models=MODELS)
    ledger = tmp_path / "ledger.sqlite3"
    served = start_serve("--catalog", str(catalog.path), "--ledger", f"sqlite:///{ledger}")
    router = f"127.0.0.1:{served.port()}"
    world = World(router=router, providers=providers, spool=tmp_path / "spool.db")
    seen: list[Pair] = []

    def judge(pair: Pair) -> float:
        seen.append(pair)
        return 0.5

    providers.script("openai", Reply.text("Short.", usage=USAGE))
    providers.script("anthropic", Reply.text("Shorter.", usage=USAGE))
    settings = world.settings(report_outcomes=True)
    with world.client(report_outcomes=True) as client:
        with auditor(world, judge, settings=settings) as audits:
            response = client.chat(LIKE["budget"])
            assert response.model_id == "gpt-small"
            assert audits.consider(LIKE["budget"], response)
        (pair,) = seen
        assert (pair.routed.text, pair.baseline.text) == ("Short.", "Shorter.")
        assert pair.baseline.model_id == "claude-big"
        status = audits.status
        assert (status.audited, status.failed, status.skipped) == (1, 0, {})
        assert (status.spent_nano_usd, status.mean_quality) == (BIG, 0.5)
        # Nothing more after the end.
        assert not audits.consider(LIKE["budget"], response)
        assert client.flush()
    served.end()
    with sqlite3.connect(ledger) as database:
        graded = dict(
            database.execute("SELECT decision_id, quality FROM outcomes WHERE quality IS NOT NULL")
        )
    database.close()
    assert graded == {response.decision.decision_id: 0.5, pair.baseline.decision.decision_id: 1.0}


def test_what_is_not_to_be_repeated_is_not(world: World, providers: ProviderServer) -> None:
    providers.script("openai", *[Reply.text("Short.", usage=USAGE)] * 2)
    providers.script("anthropic", Reply.text("Long.", usage=USAGE))
    with world.client() as client:
        cheap = client.chat(LIKE["budget"])
        hidden = client.chat(LIKE["budget"], RoutingOptions(keep_nothing=True))
        dear = client.chat(LIKE["premium"])
    with auditor(world, lambda _: 1.0) as audits:
        assert not audits.consider(LIKE["premium"], dear)
        assert not audits.consider("p", hidden, RoutingOptions(keep_nothing=True))
        assert audits.status.skipped == {}
    with auditor(world, lambda _: 1.0, share=0.0) as audits:
        assert not audits.consider(LIKE["budget"], cheap)
    with auditor(world, lambda _: 1.0, daily_budget_usd=0.0) as audits:
        assert not audits.consider(LIKE["budget"], cheap)
        assert audits.status.skipped == {"budget": 1}
    assert len(providers.calls) == 3


def test_failures_of_model_and_judge_reach_nobody(world: World, providers: ProviderServer) -> None:
    providers.script("openai", Reply.text("Short.", usage=USAGE))
    with world.client() as client:
        cheap = client.chat(LIKE["budget"])

    def judge(_: Pair) -> float:
        raise LookupError("the prompt would be here")

    with auditor(world, judge) as audits:
        providers.script("anthropic", Reply.error(ErrorClass.CONTENT_POLICY))
        assert audits.consider(LIKE["budget"], cheap)
        providers.script("anthropic", Reply.text("Shorter.", usage=USAGE))
        assert audits.consider(LIKE["budget"], cheap)
        eu = RoutingOptions(required_labels={"region": "eu"})
        # The baseline is elsewhere, so the router refuses it.
        assert audits.consider(LIKE["budget"], cheap, eu)
    status = audits.status
    assert (status.audited, status.failed) == (0, 3)
    assert status.spent_nano_usd == BIG
    assert status.mean_quality is None


def test_a_share_and_a_budget_that_make_no_sense_are_refused(world: World) -> None:
    with pytest.raises(InvalidRequestError, match="from 0 to 1"):
        auditor(world, lambda _: 1.0, share=1.5)
    with pytest.raises(InvalidRequestError, match="finite"):
        auditor(world, lambda _: 1.0, daily_budget_usd=float("inf"))
