"""From real chats to the report: client, router, providers on sockets, ledger on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import LIKE, StartServe, write_catalog
from tests.integration.client.conftest import MODELS, World

from tierwise import ChatError, Client, ErrorClass, RoutingOptions, Usage
from tierwise.testing import ProviderServer, Reply
from tierwise_server.commands.report import main

USAGE = Usage(input_tokens=1000, cached_input_tokens=400, output_tokens=200)
TURNS = Usage(input_tokens=1000, output_tokens=200)

SMALL = 600 * 200 + 400 * 100 + 200 * 800
"""Nano-dollars of `USAGE` on gpt-small."""
ALTERNATE = 1000 * 300 + 200 * 900
"""Of `TURNS` on mistral-small."""
MIDDLE = 1000 * 1000 + 200 * 4000
"""Of `TURNS` on gemini-mid."""
BIG = 1000 * 5000 + 200 * 25000
"""Of either on claude-big, the baseline, whose cached input has no price of its own."""


@pytest.fixture
def ledger(tmp_path: Path) -> str:
    """URL of a ledger that is not there yet."""
    return f"sqlite:///{tmp_path}/ledger.sqlite3"


@pytest.fixture
def reported(ledger: str, start_serve: StartServe, tmp_path: Path) -> None:
    """A ledger of some chats, whose server has stopped."""
    catalog = write_catalog(tmp_path / "catalog", models=MODELS)
    served = start_serve("--catalog", str(catalog.path), "--ledger", ledger)
    with ProviderServer() as providers:
        world = World(
            router=f"127.0.0.1:{served.port()}", providers=providers, spool=tmp_path / "spool.db"
        )
        with world.client(report_outcomes=True) as client:
            chat(client, providers)
            assert client.flush()
    served.end()


def chat(client: Client, providers: ProviderServer) -> None:
    """Asks five times: as it should go, with a failure, without an answer, twice the same."""
    providers.script("openai", Reply.text("Short.", usage=USAGE))
    first = client.chat(LIKE["budget"], RoutingOptions(caller="billing", expected_tier="budget"))
    client.report(first.decision, quality=0.75)

    providers.script("openai", *[Reply.error(ErrorClass.OVERLOADED)] * 3)
    providers.script("mistral", Reply.text("Bref.", usage=TURNS))
    client.chat(LIKE["budget"], RoutingOptions(caller="billing", expected_tier="mid"))

    providers.script("anthropic", Reply.error(ErrorClass.CONTENT_POLICY))
    with pytest.raises(ChatError):
        client.chat(LIKE["premium"], RoutingOptions(caller="search"))

    providers.script("google", Reply.text("select 1", usage=TURNS))
    labels = {"prompt_id": "p-1"}
    free = client.chat(LIKE["mid"], RoutingOptions(metadata=labels))
    client.report(free.decision, quality=0.5)
    providers.script("anthropic", Reply.text("select 1", usage=TURNS))
    pinned = client.chat(LIKE["mid"], RoutingOptions(metadata=labels, tier="premium"))
    client.report(pinned.decision, quality=1.0)


def report(ledger: str, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["--ledger", ledger, *words]) == 0
    return capsys.readouterr().out


@pytest.mark.usefixtures("reported")
def test_chats_end_in_the_report(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = report(ledger, capsys, "--format", "json", "--routing-cost", "0.0001/decision")
    document = json.loads(shown)

    whole = document["all"]
    assert whole["compared"] == {
        "calls": 5,
        "counterfactual_nano_usd": 4 * BIG,
        "answers_nano_usd": SMALL + ALTERNATE + MIDDLE + BIG,
        "unsuccessful_nano_usd": 0,
        "routing_nano_usd": 5 * 100_000,
        "net_saving_nano_usd": 3 * BIG - SMALL - ALTERNATE - MIDDLE - 500_000,
    }
    assert whole["uncompared"] == {"calls": 0, "known_cost_nano_usd": 0}
    assert (whole["input_tokens"], whole["output_tokens"]) == (4000, 800)
    assert (whole["alternates"], whole["escalations"], whole["refusals"]) == (1, 0, 1)
    assert whole["unanswered"] == 1
    assert whole["latency_p50_us"] > 0

    assert calls_by(document, "tier") == {"budget": 2, "mid": 1, "premium": 2}
    assert calls_by(document, "caller") == {"billing": 2, "search": 1, "": 2}
    assert calls_by(document, "model") == {
        "gpt-small": 1,
        "mistral-small": 1,
        "gemini-mid": 1,
        "claude-big": 2,
    }
    assert [one["guide"] for one in document["tier_shares"]] == [0.7, 0.2, 0.1]
    pairs = document["fallback"]["pairs"]
    assert [(one["tier"], one["final_tier"], one["share"]) for one in pairs] == [
        ("budget", "budget", 0.5),
        ("premium", "premium", 0.0),
    ]
    assert [one["refusals"] for one in pairs] == [0, 1]
    assert document["fallback"]["alert"] is True

    decisions = document["decisions"]
    assert decisions["count"] == 5
    assert decisions["by_kind"] == {"pinned": 1, "semantic": 4}
    assert (decisions["expected"], decisions["right"]) == (2, 1)
    assert 0 < decisions["routing_p50_us"] <= decisions["routing_p99_us"]

    assert document["assumptions"]["baselines"] == ["claude-big"]
    assert {one["tier"]: one["grade"] for one in document["judged"]} == {
        "budget": 0.75,
        "mid": 0.5,
        "premium": 1.0,
    }
    assert document["shuffle_control"]["identifiable"] is False
    assert (
        "every prompt that was judged on several tiers (1)" in document["shuffle_control"]["reason"]
    )
    assert document["paying"]["finding"] == "does not pay"


@pytest.mark.usefixtures("reported")
def test_chats_end_in_a_page_and_a_table(
    ledger: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "report.html"
    report(ledger, capsys, "--output", str(page))
    text = page.read_text(encoding="utf-8")
    for shown in (text, report(ledger, capsys, "--by", "caller")):
        assert "claude-big" in shown
        assert "billing" in shown
        assert LIKE["budget"] not in shown


def calls_by(document: dict[str, Any], dimension: str) -> dict[str, int]:
    return {one["group"]: one["calls"] for one in document["by"][dimension]}
