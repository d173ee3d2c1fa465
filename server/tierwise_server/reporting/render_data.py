"""A report as JSON and as CSV, with exact amounts."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from tierwise_server.planning.prices import NANO_USD_PER_USD
from tierwise_server.reporting.calls import CallFigures
from tierwise_server.reporting.rates import FALLBACK_ALERT, share
from tierwise_server.reporting.report import ASSUMPTION, ATTRIBUTION, Report
from tierwise_server.reporting.shuffle import COVERAGE, RESAMPLES, NotIdentifiable, ShuffleControl

FORMAT_VERSION: Final = 1
"""Rises when a field is removed or changes its meaning."""

_FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r")
"""What spreadsheets take for the beginning of a formula."""


def render_json(report: Report) -> str:
    """Returns one JSON object. Amounts are whole nano-dollars, times microseconds."""
    return json.dumps(_document(report), indent=2, ensure_ascii=False) + "\n"


def render_csv(report: Report) -> str:
    """Returns a row for all calls, then those of each breakdown. Amounts are exact US dollars."""
    text = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for row in _csv_rows(report):
        if writer is None:
            writer = csv.DictWriter(text, row.keys(), lineterminator="\n")
            writer.writeheader()
        writer.writerow(row)
    return text.getvalue()


def exact_usd(nano_usd: int) -> str:
    """Returns an amount in US dollars with all nine digits."""
    whole, rest = divmod(abs(nano_usd), NANO_USD_PER_USD)
    return f"{'-' if nano_usd < 0 else ''}{whole}.{rest:09d}"


def _csv_rows(report: Report) -> Iterator[dict[str, object]]:
    yield _csv_row("all", report.overall)
    for dimension, figures in report.breakdowns.items():
        for one in figures:
            yield _csv_row(dimension, one)


def _csv_row(dimension: str, one: CallFigures) -> dict[str, object]:
    balance = one.balance
    label = f"'{one.label}" if one.label.startswith(_FORMULAS) else one.label
    return {
        "by": dimension,
        "group": label,
        "calls": one.calls,
        "input_tokens": one.input_tokens,
        "output_tokens": one.output_tokens,
        "known_cost_usd": exact_usd(one.known_cost_nano_usd),
        "compared_calls": one.compared_calls,
        "counterfactual_usd": exact_usd(balance.counterfactual),
        "answers_usd": exact_usd(balance.calls),
        "unsuccessful_usd": exact_usd(balance.unsuccessful),
        "routing_usd": exact_usd(balance.routing),
        "net_saving_usd": exact_usd(balance.saving),
        "uncompared_calls": one.uncompared_calls,
        "uncompared_known_cost_usd": exact_usd(one.uncompared_cost_nano_usd),
        "latency_p50_us": one.latency_p50_us,
        "latency_p99_us": one.latency_p99_us,
        "unanswered": one.unanswered,
        "alternates": one.alternates,
        "escalations": one.escalations,
        "refusals": one.refusals,
        "routerless": one.routerless,
        "other_models": one.other_models,
        "unpriced_calls": one.unpriced_calls,
    }


def _document(report: Report) -> dict[str, Any]:
    decisions = report.decisions
    return {
        "format_version": FORMAT_VERSION,
        "ledger": report.ledger,
        "made_at": report.made_at.isoformat(timespec="seconds"),
        "period": {
            "since": report.period.since.isoformat(),
            "until": report.period.until.isoformat(),
        },
        "first_decision": _time(report.first_ms, report),
        "last_decision": _time(report.last_ms, report),
        "assumptions": {
            "tokens": ASSUMPTION,
            "attribution": ATTRIBUTION,
            "routing_cost": None if report.routing_cost is None else str(report.routing_cost),
            "baselines": list(report.baselines),
            "price_sources": [
                {"source": source, "date": date or None} for source, date in report.price_sources
            ],
        },
        "all": _figures(report.overall),
        "by": {name: _labelled(figures) for name, figures in report.breakdowns.items()},
        "tier_shares": [dataclasses.asdict(one) for one in report.tier_shares],
        "fallback": {
            "share": share(report.overall.fallbacks, report.overall.calls),
            "escalation_share": share(report.overall.escalations, report.overall.calls),
            "refusal_share": share(report.overall.refusals, report.overall.calls),
            "alert_above": float(FALLBACK_ALERT),
            "alert": report.fallback_alert,
            "pairs": [
                {**dataclasses.asdict(one), "share": one.share, "alert": one.alert}
                for one in report.tier_pairs
            ],
        },
        "decisions": {
            "count": decisions.decisions,
            "by_kind": dict(decisions.by_kind),
            "routing_p50_us": decisions.total_p50_us,
            "routing_p99_us": decisions.total_p99_us,
            "expected": decisions.expected,
            "right": decisions.right,
            "accuracy": decisions.accuracy,
            "confusion": [
                {"expected": expected, "decided": tier, "decisions": number}
                for expected, tier, number in decisions.confusion
            ],
        },
        "routerless": {
            "calls": report.overall.routerless,
            "by_cause": dict(report.routerless_causes),
        },
        "served_other": [one._asdict() for one in report.served_other],
        "unpriced": [one._asdict() for one in report.unpriced],
        "judged": [dataclasses.asdict(one) for one in report.judged],
        "callless_judgements": report.callless_judgements,
        "shuffle_control": _shuffle(report.shuffle),
        "paying": {
            "finding": report.paying.finding.value,
            "summary": report.paying.summary,
            "checks": [
                {"name": one.name, "measured": one.measured, "finding": one.finding.value}
                for one in report.paying.checks
            ],
        },
    }


def _time(time_ms: int | None, report: Report) -> str | None:
    if time_ms is None:
        return None
    moment = datetime.fromtimestamp(time_ms / 1000, report.made_at.tzinfo)
    return moment.isoformat(timespec="milliseconds")


def _labelled(figures: Sequence[CallFigures]) -> list[dict[str, Any]]:
    return [{"group": one.label, **_figures(one)} for one in figures]


def _figures(one: CallFigures) -> dict[str, Any]:
    balance = one.balance
    return {
        "calls": one.calls,
        "input_tokens": one.input_tokens,
        "output_tokens": one.output_tokens,
        "known_cost_nano_usd": one.known_cost_nano_usd,
        "compared": {
            "calls": one.compared_calls,
            "counterfactual_nano_usd": balance.counterfactual,
            "answers_nano_usd": balance.calls,
            "unsuccessful_nano_usd": balance.unsuccessful,
            "routing_nano_usd": balance.routing,
            "net_saving_nano_usd": balance.saving,
        },
        "uncompared": {
            "calls": one.uncompared_calls,
            "known_cost_nano_usd": one.uncompared_cost_nano_usd,
        },
        "latency_p50_us": one.latency_p50_us,
        "latency_p99_us": one.latency_p99_us,
        "unanswered": one.unanswered,
        "alternates": one.alternates,
        "escalations": one.escalations,
        "refusals": one.refusals,
        "routerless": one.routerless,
        "other_models": one.other_models,
        "unpriced_calls": one.unpriced_calls,
    }


def _shuffle(found: ShuffleControl | NotIdentifiable) -> dict[str, Any]:
    if isinstance(found, NotIdentifiable):
        return {"identifiable": False, "reason": found.reason, "missing": found.missing}
    return {
        "identifiable": True,
        "verdict": found.verdict,
        **dataclasses.asdict(found),
        "mix": dict(found.mix),
        "gain": found.gain,
        "coverage": COVERAGE,
        "resamples": RESAMPLES,
    }
