"""The tables of a report that are about tiers, decisions and answers."""

from __future__ import annotations

from collections.abc import Iterator

from tierwise_server.reporting.rates import FALLBACK_ALERT, share
from tierwise_server.reporting.report import Report
from tierwise_server.reporting.shuffle import COVERAGE, NotIdentifiable, ShuffleControl
from tierwise_server.reporting.table import ALERT, Table
from tierwise_server.reporting.wording import (
    count,
    duration,
    named,
    percent,
    usd,
)


def tier_share_tables(report: Report) -> Iterator[Table]:
    """Yields the shares of the tiers."""
    shares = report.tier_shares
    guided = any(one.guide is not None for one in shares)
    if not report.overall.calls:
        return
    yield Table(
        id="shares",
        title="Shares of the tiers" + (" against the 70/20/10 guide" if guided else ""),
        headings=("tier", "calls", "tokens", "cost", *(("guide",) if guided else ())),
        rows=tuple(
            (
                named(one.tier),
                percent(one.calls),
                percent(one.tokens),
                percent(one.cost),
                *((percent(one.guide),) if guided else ()),
            )
            for one in shares
        ),
        notes=() if guided else ("The 70/20/10 guide is for a catalog of three tiers.",),
    )


def fallback_tables(report: Report) -> Iterator[Table]:
    """Yields fallback, escalation and refusal."""
    overall = report.overall
    if not overall.calls:
        return

    def row(name: str, calls: int, *, alert: bool = False) -> tuple[str, ...]:
        return name, count(calls), percent(share(calls, overall.calls)), ALERT if alert else ""

    limit = f"above {percent(float(FALLBACK_ALERT))}"
    yield Table(
        id="fallback",
        title="Fallback, escalation and refusal",
        headings=("", "calls", "share", limit),
        rows=(
            row("fallback", overall.fallbacks, alert=report.fallback_alert),
            row("escalation", overall.escalations),
            row("refusal for content", overall.refusals),
            row("no answer", overall.unanswered),
        ),
    )
    if report.tier_pairs:
        yield Table(
            id="pairs",
            title="Fallback and refusal by pair of tiers",
            headings=("decided", "ended in", "calls", "fallback", "share", "refused", limit),
            word_columns=2,
            rows=tuple(
                (
                    named(one.tier),
                    named(one.final_tier),
                    count(one.calls),
                    count(one.fallbacks),
                    percent(one.share),
                    count(one.refusals),
                    ALERT if one.alert else "",
                )
                for one in report.tier_pairs
            ),
            notes=("The share is of all calls that were decided for the tier.",),
        )


def decision_tables(report: Report) -> Iterator[Table]:
    """Yields what decided."""
    decisions = report.decisions
    if not decisions.decisions:
        return
    yield Table(
        id="decisions",
        title="Decisions by kind",
        headings=("kind", "decisions", "share"),
        rows=tuple(
            (kind, count(number), percent(share(number, decisions.decisions)))
            for kind, number in decisions.by_kind
        ),
        notes=(
            f"Routing took {duration(decisions.total_p50_us)} at the median and"
            f" {duration(decisions.total_p99_us)} at p99, in the server.",
        ),
    )


def accuracy_tables(report: Report) -> Iterator[Table]:
    """Yields how decisions stand to what callers expected."""
    decisions = report.decisions
    if not decisions.expected:
        return
    counts = {(expected, tier): number for expected, tier, number in decisions.confusion}
    decided = list(dict.fromkeys(tier for _, tier in counts))
    yield Table(
        id="accuracy",
        title="Accuracy where the expected tier was given",
        headings=("expected", *(f"decided {named(tier)}" for tier in decided)),
        rows=tuple(
            (expected, *(count(counts.get((expected, tier), 0)) for tier in decided))
            for expected in dict.fromkeys(expected for expected, _ in counts)
        ),
        notes=(
            f"{percent(decisions.accuracy)}: {count(decisions.right)} of"
            f" {count(decisions.expected)} decisions are right.",
        ),
    )


def shuffle_tables(report: Report) -> Iterator[Table]:
    """Yields the shuffle control."""
    title = "Shuffle control: the router against its own tier mix dealt at random"
    match report.shuffle:
        case NotIdentifiable(reason=reason, missing=missing):
            yield Table(
                id="shuffle", title=title, notes=(f"Not identifiable: {reason}.", f"{missing}.")
            )
        case ShuffleControl() as found:
            yield Table(
                id="shuffle",
                title=title,
                headings=("", "mean quality", "mean cost"),
                rows=(
                    ("router", f"{found.router_grade:.4f}", _mean_cost(found.router_cost_nano_usd)),
                    (
                        "shuffled",
                        f"{found.shuffled_grade:.4f}",
                        _mean_cost(found.shuffled_cost_nano_usd),
                    ),
                ),
                notes=_shuffle_notes(found),
            )


def _shuffle_notes(found: ShuffleControl) -> tuple[str, ...]:
    verdict = {
        "better": "The router is better than chance",
        "worse": "The router is worse than chance",
        "no different": "The router cannot be told from chance",
    }[found.verdict]
    mix = ", ".join(f"{count(number)} to {tier}" for tier, number in found.mix)
    return (
        f"{verdict}: it gains {found.gain:+.4f}, between {found.low:+.4f} and {found.high:+.4f}"
        f" with {COVERAGE:.0%} confidence.",
        f"By {count(found.prompts)} prompts that were judged on each of these tiers, of which the"
        f" router sent {mix}.",
    )


def _mean_cost(nano_usd: float | None) -> str:
    return "not known" if nano_usd is None else usd(round(nano_usd), 6)


def judged_tables(report: Report) -> Iterator[Table]:
    """Yields how answers were judged."""
    notes = []
    if report.judged:
        notes.append("Tiers get different prompts, so these means do not compare them.")
    if report.callless_judgements:
        notes.append(
            f"Beyond these, {count(report.callless_judgements)} judgements are of decisions of"
            " which no call is kept: it was not reported, has expired, or the decision's id is"
            " wrong."
        )
    if notes:
        yield Table(
            id="judged",
            title="Judged answers",
            headings=("tier that answered", "judged calls", "mean quality"),
            rows=tuple(
                (named(one.tier), count(one.calls), f"{one.grade:.3f}") for one in report.judged
            ),
            notes=tuple(notes),
        )


def served_other_tables(report: Report) -> Iterator[Table]:
    """Yields which models answered in place of others."""
    if report.served_other:
        yield Table(
            id="served",
            title="Another model answered than the one that was asked for",
            headings=("asked for", "answered", "calls"),
            word_columns=2,
            rows=tuple(
                (one.model_id, one.served_model_name, count(one.calls))
                for one in report.served_other
            ),
        )


def routerless_tables(report: Report) -> Iterator[Table]:
    """Yields decisions without a router."""
    overall = report.overall
    if overall.routerless:
        yield Table(
            id="routerless",
            title="Decided by clients without a router",
            headings=("cause", "calls", "share of all calls"),
            rows=tuple(
                (cause, count(calls), percent(share(calls, overall.calls)))
                for cause, calls in report.routerless_causes
            ),
        )
