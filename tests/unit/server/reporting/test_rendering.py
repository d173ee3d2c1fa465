"""What people and programs are shown, in each format."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from decimal import Decimal
from html.parser import HTMLParser

import pytest
from tests.unit.server.reporting.conftest import (
    BIG_COST,
    DAY,
    MARCH,
    NOW,
    SMALL_COST,
    call_group,
)

from tierwise_server.reporting.render_data import exact_usd, render_csv, render_json
from tierwise_server.reporting.render_html import render_html
from tierwise_server.reporting.render_terminal import render_terminal
from tierwise_server.reporting.report import Report, ReportRequest, make_report
from tierwise_server.reporting.routing_cost import parse_routing_cost
from tierwise_server.reporting.rows import (
    DecisionGroup,
    JudgedCall,
    LedgerFacts,
    LedgerRows,
    ServedOther,
    UnpricedModel,
)

HOSTILE = "<script>alert(1)</script>\x1b[2J\n=1+1"
"""What a caller may call itself."""

VOID = frozenset({"meta"})

FACTS = LedgerFacts(
    first_ms=MARCH.since_ms,
    last_ms=MARCH.until_ms - 1,
    tiers=("budget", "mid", "premium"),
    baselines=("big",),
    price_sources=(("genai-prices", "2026-01-15"), ("models.yaml", "")),
)

ROWS = LedgerRows(
    facts=FACTS,
    calls=(
        call_group(calls=94),
        call_group(calls=4, escalations=4, final_tier="mid", model_id="middle", day=DAY + 3),
        call_group(
            calls=2,
            compared=False,
            answer_nano_usd=0,
            counterfactual_nano_usd=0,
            unpriced_calls=2,
            model_id="own",
            caller=HOSTILE,
            refusals=1,
            routerless=1,
        ),
    ),
    decisions=(DecisionGroup("budget", "mid", 4, 2, (900, 2_500)),),
    routerless_causes=((1, 1),),
    served_other=(ServedOther("small", HOSTILE, 1),),
    unpriced=(UnpricedModel("own", 2, 10, 20),),
    judged=tuple(
        JudgedCall(f"p{number}", 1, tier, tier, tier == chosen, grade, None)
        for number, chosen in enumerate(["budget", "premium"] * 20)
        for tier, grade in (("budget", 0.5 + number % 2 / 2), ("premium", 1.0))
    ),
)


def report(rows: LedgerRows = ROWS, routing_cost: str | None = "0.000001/decision") -> Report:
    return make_report(
        ReportRequest(
            period=MARCH,
            dimensions=("tier", "model", "caller", "day"),
            routing_cost=parse_routing_cost(routing_cost) if routing_cost is not None else None,
            now=NOW,
            ledger="sqlite:///ledger",
        ),
        rows,
    )


class Page(HTMLParser):
    """A page that is read as browsers do; fails where tags do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes a tag that has to be closed."""
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes a tag that is closed in itself."""
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """Closes the innermost tag."""
        assert self._open.pop() == tag

    def count(self, tag: str) -> int:
        """Returns how often a tag is opened."""
        return sum(1 for name, _ in self.tags if name == tag)


def test_the_page_is_whole_and_loads_nothing() -> None:
    page = Page(render_html(report()))
    assert page.count("script") == page.count("link") == page.count("img") == 0
    names = {name for _, attributes in page.tags for name in attributes}
    assert not names & {"src", "href", "onload", "onclick"}
    assert page.count("svg") == 6
    ids = [one["id"] for _, one in page.tags if "id" in one]
    assert len(ids) == len(set(ids))
    for _, one in page.tags:
        for labels in (one.get("aria-labelledby") or "").split():
            assert labels in ids


def test_every_chart_has_a_title_a_description_and_a_table() -> None:
    page = Page(render_html(report()))
    names = [name for name, _ in page.tags]
    for position, name in enumerate(names):
        if name == "svg":
            assert names[position + 1 : position + 3] == ["title", "desc"]
            section = names[position:]
            end = section.index("section") if "section" in section else len(section)
            assert "table" in section[:end]


def test_no_name_gets_out_of_its_place() -> None:
    assert "<script>" not in render_html(report())
    shown = render_terminal(report())
    assert "\x1b" not in shown
    assert "alert(1)</script>\ufffd[2J\ufffd=1+1" in shown
    assert {one["group"] for one in json.loads(render_json(report()))["by"]["caller"]} == {
        "billing",
        HOSTILE,
    }


def test_formulas_do_not_run_in_spreadsheets() -> None:
    rows = replace(ROWS, calls=(call_group(caller="=cmd()"),))
    groups = [one["group"] for one in csv.DictReader(io.StringIO(render_csv(report(rows))))]
    assert "'=cmd()" in groups


def test_json_and_csv_are_exact_and_agree() -> None:
    document = json.loads(render_json(report()))
    compared = document["all"]["compared"]
    assert compared == {
        "calls": 98,
        "counterfactual_nano_usd": 2 * BIG_COST,
        "answers_nano_usd": 2 * SMALL_COST,
        "unsuccessful_nano_usd": 0,
        "routing_nano_usd": 2_000,
        "net_saving_nano_usd": 2 * (BIG_COST - SMALL_COST) - 2_000,
    }
    assert document["all"]["uncompared"] == {"calls": 2, "known_cost_nano_usd": 0}
    table = list(csv.DictReader(io.StringIO(render_csv(report()))))
    whole = table[0]
    assert (whole["by"], whole["net_saving_usd"]) == ("all", "0.014578000")
    for dimension in ("tier", "model", "caller", "day"):
        parts = [one for one in table if one["by"] == dimension]
        saving = sum(Decimal(one["net_saving_usd"]) for one in parts)
        assert saving == Decimal(whole["net_saving_usd"])
        assert sum(int(one["calls"]) for one in parts) == 100
        named = document["by"][dimension]
        assert (
            sum(one["compared"]["net_saving_nano_usd"] for one in named)
            == (compared["net_saving_nano_usd"])
        )


def test_json_says_what_the_figures_rest_on() -> None:
    document = json.loads(render_json(report()))
    assert document["assumptions"]["routing_cost"] == "0.000001 USD/decision"
    assert document["assumptions"]["baselines"] == ["big"]
    assert document["assumptions"]["price_sources"][0] == {
        "source": "genai-prices",
        "date": "2026-01-15",
    }
    assert "same tokens of output" in document["assumptions"]["tokens"]
    assert document["fallback"]["alert"] is True
    assert document["fallback"]["pairs"][1]["final_tier"] == "mid"
    assert document["shuffle_control"]["verdict"] == "worse"
    assert document["paying"]["finding"] == "does not pay"


def test_the_terminal_shows_the_alert_and_what_is_not_known() -> None:
    shown = render_terminal(report(routing_cost=None))
    lines = {line.split("  ")[1].strip(): line for line in shown.splitlines() if "  " in line}
    assert lines["fallback"].endswith("ALERT")
    assert lines["not compared: 2 calls"].endswith("not known")
    assert lines["- routing"].endswith("not counted")
    assert lines["own"].split()[4] == "\N{EN DASH}"
    assert "The cost of routing is not counted: say --routing-cost." in shown
    assert "Routing took 0.90 ms at the median and 2.50 ms at p99" in shown


@pytest.mark.parametrize("render", [render_terminal, render_html])
def test_an_empty_report_says_why(render: object) -> None:
    empty = replace(
        ROWS, calls=(), decisions=(), judged=(), served_other=(), unpriced=(), routerless_causes=()
    )
    assert callable(render)
    assert "ledger has decisions from 2026-03-01 to 2026-03-31" in render(report(empty))
    nothing = replace(empty, facts=FACTS._replace(first_ms=None, last_ms=None))
    assert "The ledger is empty" in render(report(nothing))
    assert json.loads(render_json(report(nothing)))["all"]["calls"] == 0
    assert len(render_csv(report(nothing)).splitlines()) == 2


@pytest.mark.parametrize("render", [render_terminal, render_html, render_json, render_csv])
def test_decisions_without_calls_can_be_shown(render: object) -> None:
    rows = replace(ROWS, calls=(), judged=(), served_other=(), unpriced=(), routerless_causes=())
    assert callable(render)
    assert re.search(r"\bnan\b", render(report(rows)), re.IGNORECASE) is None


def test_the_least_of_everything_can_be_drawn() -> None:
    free = call_group(answer_nano_usd=0, counterfactual_nano_usd=0, latencies_us=(), input_tokens=0)
    assert Page(render_html(report(replace(ROWS, calls=(free,))))).count("svg") == 6


def test_a_saving_that_is_none_is_negative() -> None:
    dear = call_group(answer_nano_usd=2 * BIG_COST)
    shown = render_terminal(report(replace(ROWS, calls=(dear,))))
    assert "-$0.007502" in shown
    assert Page(render_html(report(replace(ROWS, calls=(dear,))))).count("svg") == 6


@pytest.mark.parametrize(
    ("nano_usd", "shown"),
    [
        (0, "0.000000000"),
        (1, "0.000000001"),
        (-1, "-0.000000001"),
        (10**18 + 5, f"{10**9}.000000005"),
    ],
)
def test_dollars_have_all_nine_digits(nano_usd: int, shown: str) -> None:
    assert exact_usd(nano_usd) == shown
