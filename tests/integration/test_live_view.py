"""Metrics of a real server, and the dashboard and alert rules that rest on them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import pytest_asyncio
import yaml
from prometheus_client.parser import text_string_to_metric_families
from tests.conftest import (
    CALL_TIMEOUT_S,
    LIKE,
    LIKE_NOTHING,
    MODELS,
    REPOSITORY,
    Serve,
    Served,
    eventually,
    write_catalog,
)

from tierwise.v1.catalog_service_pb2 import ReloadCatalogRequest
from tierwise.v1.decision_pb2 import (
    PLAN_STEP_KIND_ALTERNATE,
    PLAN_STEP_KIND_ESCALATION,
    PLAN_STEP_KIND_FIRST,
)
from tierwise.v1.error_class_pb2 import ERROR_CLASS_RATE_LIMITED, ERROR_CLASS_REJECTED_BY_VALIDATOR
from tierwise.v1.outcome_pb2 import (
    ROUTERLESS_CAUSE_TIMEOUT,
    Attempt,
    Outcome,
    RouterlessDecision,
    Usage,
)
from tierwise.v1.routing_service_pb2 import ReportOutcomesRequest

DEPLOY = REPOSITORY / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "tierwise.json").read_text(encoding="utf-8"))
RULES = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text(encoding="utf-8"))
RULE_TESTS = yaml.safe_load(
    (DEPLOY / "prometheus" / "alerts_test.yaml").read_text(encoding="utf-8")
)

UNPRICED = """\
  - id: homegrown
    provider: vllm
    name: homegrown-1
    tier: budget
    price: unknown
    context_window: 8000
    max_output_tokens: 4000
    base_url: http://127.0.0.1:9
"""

LIMITS = """\
spending:
  - {caller: mail, per: day, usd: 0.0001, at_limit: warn}
"""

ADDED_BY_PROMETHEUS = {"instance", "le"}
"""Labels that no server sends on each sample."""


# A server that has been through everything --------------------------------------------------------

Series = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Scrape:
    """What Prometheus gets of a server."""

    text: str

    def families(self) -> Iterator[tuple[str, str, set[str]]]:
        """Yields each metric's name as queries spell it, its text and its labels."""
        for family in text_string_to_metric_families(self.text):
            name = {"counter": f"{family.name}_total"}.get(family.type, family.name)
            if not name.endswith("_created"):
                labels = {label for one in family.samples for label in one.labels} - {"le"}
                yield name, family.documentation, labels

    def labels(self) -> dict[str, set[str]]:
        """Returns the labels of each series by its name."""
        found: dict[str, set[str]] = {}
        for family in text_string_to_metric_families(self.text):
            for one in family.samples:
                found.setdefault(one.name, set()).update(one.labels)
        return found

    def values(self, name: str, **labels: str) -> dict[tuple[str, ...], float]:
        """Returns the series of a name with some labels, by the values of the other labels."""
        return {
            tuple(
                value for key, value in sorted(one.labels.items()) if key not in labels
            ): one.value
            for family in text_string_to_metric_families(self.text)
            for one in family.samples
            if one.name == name and labels.items() <= one.labels.items()
        }


async def scrape(served: Served) -> Scrape:
    def read() -> str:
        with urlopen(
            f"http://127.0.0.1:{served.server.metrics_port}/metrics", timeout=CALL_TIMEOUT_S
        ) as answer:
            return str(answer.read().decode())

    return Scrape(await asyncio.to_thread(read))


async def report(served: Served, *outcomes: Outcome) -> None:
    request = ReportOutcomesRequest(outcomes=outcomes)
    await served.routing.ReportOutcomes(request, timeout=CALL_TIMEOUT_S)


def answered(model: str, step: int = PLAN_STEP_KIND_FIRST, **fields: Any) -> Attempt:  # noqa: ANN401 - fields of a message
    usage = Usage(
        input_token_count=1000,
        cached_input_token_count=100,
        cache_write_token_count=50,
        output_token_count=300,
        reasoning_token_count=200,
    )
    made = Attempt(model_id=model, step_kind=step, usage=usage, **fields)
    made.call_duration.FromMilliseconds(700)
    made.first_token_duration.FromMilliseconds(200)
    made.rate_headroom.remaining_request_count = 90
    made.rate_headroom.remaining_token_count = 9000
    return made


def failed(model: str, error_class: int, step: int = PLAN_STEP_KIND_FIRST) -> Attempt:
    return Attempt(model_id=model, step_kind=step, error_class=error_class)


async def go_through_everything(served: Served) -> None:
    token = (await served.route(LIKE["budget"])).decision_token
    await served.route(LIKE_NOTHING)
    limited = (await served.route(LIKE["budget"], caller="mail")).decision_token
    await report(
        served,
        Outcome(outcome_id="1", decision_token=token, attempts=[answered("small-fast")]),
        Outcome(
            outcome_id="2",
            decision_token=token,
            attempts=[
                failed("small-fast", ERROR_CLASS_RATE_LIMITED),
                answered("homegrown", PLAN_STEP_KIND_ALTERNATE, served_model_name="another-9"),
            ],
        ),
        Outcome(
            outcome_id="3",
            decision_token=token,
            attempts=[
                Attempt(
                    model_id="small-fast",
                    step_kind=PLAN_STEP_KIND_FIRST,
                    error_class=ERROR_CLASS_REJECTED_BY_VALIDATOR,
                    usage=Usage(input_token_count=1000, output_token_count=10),
                ),
                answered("middle", PLAN_STEP_KIND_ESCALATION),
            ],
        ),
    )
    await report(served, Outcome(outcome_id="1", decision_token=token, attempts=[]))
    away = RouterlessDecision(decision_id="r", tier_id="mid", cause=ROUTERLESS_CAUSE_TIMEOUT)
    away.decision_time.GetCurrentTime()
    await report(
        served,
        Outcome(outcome_id="4", routerless_decision=away, attempts=[answered("middle")]),
        Outcome(outcome_id="5", decision_token=limited, attempts=[answered("middle")]),
    )
    # By now the caller is beyond what it may spend.
    await served.route(LIKE["budget"], caller="mail")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def live(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scrape]:
    """What a server tells that has been through everything."""
    folder = tmp_path_factory.mktemp("live")
    catalog = write_catalog(folder / "catalog", models=MODELS + UNPRICED)
    catalog.write("limits.yaml", LIMITS)
    ledger = f"sqlite:///{folder / 'ledger.sqlite3'}"
    async with serve(catalog, metrics_listen="127.0.0.1:0", ledger=ledger) as served:
        await go_through_everything(served)
        catalog.write("catalog.yaml", catalog.read("catalog.yaml") + "# edited\n")
        await served.catalogs.ReloadCatalog(ReloadCatalogRequest(), timeout=CALL_TIMEOUT_S)

        async def all_counted() -> bool:
            rows = (await scrape(served)).values("tierwise_ledger_rows_total")
            return sum(rows.values()) >= 9

        await eventually(all_counted)
        yield await scrape(served)


def test_outcomes_are_counted_once_each(live: Scrape) -> None:
    assert live.values("tierwise_prompts_total", catalog="default") == {
        ("answered", "none", "budget"): 2,
        ("answered", "alternate", "budget"): 1,
        ("answered", "escalation", "budget"): 1,
        ("answered", "none", "mid"): 1,
    }
    assert live.values("tierwise_attempts_total", model="small-fast", catalog="default") == {
        ("none", "first", "budget"): 1,
        ("rate_limited", "first", "budget"): 1,
        ("rejected_by_validator", "first", "budget"): 1,
    }
    assert live.values("tierwise_routerless_decisions_total") == {("default", "timeout"): 1}


def test_kinds_of_tokens_do_not_overlap(live: Scrape) -> None:
    assert live.values("tierwise_tokens_total", model="homegrown") == {
        ("default", "input", "budget"): 850,
        ("default", "cached_input", "budget"): 100,
        ("default", "cache_write", "budget"): 50,
        ("default", "output", "budget"): 100,
        ("default", "reasoning", "budget"): 200,
    }


def test_money_is_that_of_the_prices(live: Scrape) -> None:
    # At 0.15 and 0.60 dollars a million, 1 and 3, and for the baseline 5 and 25.
    small, rejected, middle = 0.00033, 0.000156, 0.0019
    assert live.values("tierwise_cost_usd_total") == {
        ("default", "small-fast", "answer", "budget"): small,
        ("default", "small-fast", "unsuccessful", "budget"): rejected,
        ("default", "middle", "answer", "mid"): 3 * middle,
    }
    assert live.values("tierwise_unpriced_attempts_total") == {
        ("default", "homegrown", "budget"): 1
    }
    # Without the prompt that an unpriced model answered.
    assert live.values("tierwise_baseline_cost_usd_total") == {("default",): 0.05}
    assert live.values("tierwise_compared_cost_usd_total") == {("default",): 0.006186}


def test_the_revision_in_service_is_told(live: Scrape) -> None:
    ((encoder, revision, scorer),) = live.values("tierwise_catalog_info", catalog="default")
    assert encoder.startswith("all-minilm-l6-v2")
    assert re.fullmatch(r"[0-9a-f]{16}", revision)
    assert scorer
    assert live.values("tierwise_reloads_total") == {("default", "loaded"): 1}


async def test_outcomes_are_counted_without_a_ledger_too(serve: Serve, tmp_path: Path) -> None:
    catalog = write_catalog(tmp_path / "catalog", models=MODELS + UNPRICED)
    catalog.write("limits.yaml", LIMITS)
    async with serve(catalog, metrics_listen="127.0.0.1:0", ledger="none") as served:
        await go_through_everything(served)
        told = await scrape(served)
    assert sum(told.values("tierwise_prompts_total").values()) == 5
    assert told.values("tierwise_compared_cost_usd_total") == {("default",): 0.006186}
    assert told.values("tierwise_ledger_available") == {(): 0}


async def test_callers_cannot_make_labels(serve: Serve, tmp_path: Path) -> None:
    catalog = write_catalog(tmp_path / "catalog", models=MODELS)
    ledger = f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    async with serve(catalog, metrics_listen="127.0.0.1:0", ledger=ledger) as served:
        for number in range(20):
            away = RouterlessDecision(
                decision_id=f"r{number}",
                catalog=f"catalog-{number}",
                tier_id=f"tier-{number}",
                cause=ROUTERLESS_CAUSE_TIMEOUT,
                caller=f"caller-{number}",
            )
            away.decision_time.GetCurrentTime()
            attempt = answered(f"model-{number}", served_model_name=f"served-{number}")
            await report(
                served,
                Outcome(outcome_id=f"o{number}", routerless_decision=away, attempts=[attempt]),
            )

        async def counted() -> bool:
            return sum((await scrape(served)).values("tierwise_prompts_total").values()) == 20

        await eventually(counted)
        told = await scrape(served)
    assert not re.search(r"(catalog|tier|caller|model|served)-[0-9]", told.text)
    assert told.values("tierwise_attempts_total") == {
        ("_other", "none", "_other", "first", "_other"): 20
    }


async def test_what_may_not_be_kept_is_not_counted(serve: Serve, tmp_path: Path) -> None:
    catalog = write_catalog(tmp_path / "catalog", models=MODELS)
    async with serve(catalog, metrics_listen="127.0.0.1:0", ledger="none") as served:
        await served.route(LIKE["budget"], keep_nothing=True)
        told = await scrape(served)
    assert sum(told.values("tierwise_decisions_total").values()) == 1
    assert told.values("tierwise_task_decisions_total") == {("default", "", "budget"): 1}
    for name in ("tierwise_score_count", "tierwise_similarity_count"):
        assert told.values(name) == {("default",): 0}


def test_the_documentation_lists_every_metric(live: Scrape) -> None:
    text = (DEPLOY / "README.md").read_text(encoding="utf-8")
    listed = {
        (name, frozenset(filter(None, labels.split(", "))), meaning)
        for name, labels, meaning in re.findall(
            r"^\| `(tierwise_\w+)` \| (.*?) \| (.*) \|$", text, re.M
        )
    }
    told = {(name, frozenset(labels), meaning) for name, meaning, labels in live.families()}
    assert listed == told


# Queries ------------------------------------------------------------------------------------------

_METRIC = re.compile(r"(?<![:\w])(tierwise_\w+)(?:\{([^}]*)\})?")
_RECORDED = re.compile(r"tierwise:[\w:]+")
_GROUPING = re.compile(r"\b(?:by|on) \(([\w, ]*)\)")


def panels(kinds: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    for panel in DASHBOARD["panels"]:
        if not kinds or panel["type"] in kinds:
            yield panel


def dashboard_queries() -> list[tuple[str, str]]:
    return [
        (f"{panel['title']}, {target['refId']}", target["expr"])
        for panel in panels()
        for target in panel.get("targets", ())
    ]


def rules() -> list[dict[str, Any]]:
    return [rule for group in RULES["groups"] for rule in group["rules"]]


def rule_queries() -> list[tuple[str, str]]:
    return [(rule.get("alert") or rule["record"], rule["expr"]) for rule in rules()]


QUERIES = dashboard_queries() + rule_queries()


def unknown_in(query: str, known: Mapping[str, set[str]]) -> Iterator[str]:
    """Yields what a query names that no server tells."""
    grouped: set[str] = set(ADDED_BY_PROMETHEUS)
    for name, selectors in _METRIC.findall(query):
        labels = known.get(name)
        if labels is None:
            yield name
            continue
        grouped |= labels
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selectors):
            if label not in labels:
                yield f"{name}{{{label}}}"
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    for name in _RECORDED.findall(query):
        if name not in recorded:
            yield name
        grouped |= {"catalog", "model"}
    for labels in _GROUPING.findall(query):
        yield from ({one for one in labels.split(", ") if one} - grouped)


@pytest.mark.parametrize(("name", "query"), QUERIES, ids=[name for name, _ in QUERIES])
def test_every_query_names_what_the_server_tells(name: str, query: str, live: Scrape) -> None:
    assert _METRIC.search(query) or _RECORDED.search(query)
    assert list(unknown_in(query, live.labels())) == []


def test_a_query_that_names_something_else_is_found(live: Scrape) -> None:
    known = live.labels()
    assert list(unknown_in("rate(tierwise_nope_total[5m])", known)) == ["tierwise_nope_total"]
    assert list(unknown_in('sum by (tire) (tierwise_tokens_total{colour="red"})', known)) == [
        "tierwise_tokens_total{colour}",
        "tire",
    ]
    assert list(unknown_in("tierwise:nope:ratio1h > 1", known)) == ["tierwise:nope:ratio1h"]


def test_every_metric_is_shown_or_watched(live: Scrape) -> None:
    named = {name for _, query in QUERIES for name, _ in _METRIC.findall(query)}
    shown = {re.sub(r"_(bucket|count|sum)$", "", name) for name in named}
    assert {name for name, _, _ in live.families()} - shown == set()


# The dashboard ------------------------------------------------------------------------------------


def test_the_dashboard_has_what_grafana_needs() -> None:
    assert {"title", "uid", "schemaVersion", "version", "time", "templating"} <= DASHBOARD.keys()
    assert "id" not in DASHBOARD, "a number of one Grafana's own"
    variables = {one["name"]: one for one in DASHBOARD["templating"]["list"]}
    assert (
        variables["datasource"] | {"type": "datasource", "query": "prometheus"}
        == (variables["datasource"])
    )
    assert "tierwise_catalog_info, catalog" in variables["catalog"]["definition"]
    used = set(re.findall(r"\$\{?(\w+)\}?", json.dumps(DASHBOARD["panels"])))
    assert used == {"datasource", "catalog", "__range", "__rate_interval"}


def test_panels_are_whole_and_named_apart() -> None:
    every = list(panels())
    assert len({one["id"] for one in every}) == len(every)
    for panel in panels(("stat", "timeseries", "bargauge", "heatmap", "table")):
        assert panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["fieldConfig"]["defaults"]["unit"]
        references = [target["refId"] for target in panel["targets"]]
        assert references == sorted(set(references)) != []
    kinds = {one["type"] for one in every}
    assert kinds == {"row", "stat", "timeseries", "bargauge", "heatmap", "table"}


def test_panels_neither_overlap_nor_leave_the_page() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] >= 0
        assert place["x"] + place["w"] <= 24
        taken |= cells


# The rules ----------------------------------------------------------------------------------------


STUCK_S = 600
"""Seconds after which Prometheus' tool is given up: it takes five of the processor."""


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs Prometheus' own tool."""
    program = os.environ.get("TIERWISE_TEST_PROMTOOL") or shutil.which("promtool")
    if not program:
        message = "promtool is missing: apt-get install prometheus, or TIERWISE_TEST_PROMTOOL=FILE"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return subprocess.run(
        [program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=STUCK_S,
        check=False,
    )


def test_alerts_fire_on_trouble_and_stay_silent_without() -> None:
    done = promtool("test", "rules", DEPLOY / "prometheus" / "alerts_test.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_made_to_fire() -> None:
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}
    fired = {
        case["alertname"]
        for test in RULE_TESTS["tests"]
        for case in test.get("alert_rule_test", ())
        if case["exp_alerts"]
    }
    assert fired == alerts
    healthy = RULE_TESTS["tests"][0]
    fed = {name for one in healthy["input_series"] for name, _ in _METRIC.findall(one["series"])}
    watched = {name for _, query in rule_queries() for name, _ in _METRIC.findall(query)}
    assert watched <= fed, "the healthy service has figures for every rule"


@pytest.mark.parametrize(
    "rule", [one for one in rules() if "alert" in one], ids=lambda one: one["alert"]
)
def test_alerts_say_what_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"info", "warning", "critical"}
    assert rule["annotations"].keys() == {"summary", "description"}


def test_made_up_series_have_the_labels_of_real_ones(live: Scrape) -> None:
    known = live.labels()
    made_up: Iterable[str] = {
        one["series"] for test in RULE_TESTS["tests"] for one in test["input_series"]
    }
    for series in made_up:
        ((name, labels),) = _METRIC.findall(series)
        given = set(re.findall(r'(\w+)="', labels)) - ADDED_BY_PROMETHEUS
        assert given == known[name] - ADDED_BY_PROMETHEUS, series


def test_prometheus_reads_every_query_of_the_dashboard(tmp_path: Path) -> None:
    def filled(query: str) -> str:
        for variable, value in {
            "$catalog": ".*",
            "$__rate_interval": "5m",
            "$__range": "1d",
        }.items():
            query = query.replace(variable, value)
        return query

    recorded = [
        {"record": f"panel:query{number}", "expr": filled(query)}
        for number, (_, query) in enumerate(dashboard_queries())
    ]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": recorded}]}))
    done = promtool("check", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(recorded)} rules found" in done.stdout
