"""Finds the prompts of a ledger that its catalog could learn from.

Only those whose text was kept: without `--keep-prompts` a ledger has nothing to learn from.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sqlalchemy import func, select

from tierwise_server.catalog.ids import TierId
from tierwise_server.catalog.model import Catalog
from tierwise_server.deciding.decision import DecisionKind
from tierwise_server.ledger.schema import decisions, outcomes, prompts
from tierwise_server.planning.plan import StepKind
from tierwise_server.reporting.conditions import AnyRow, decided_in_period
from tierwise_server.reporting.database import opened_ledger
from tierwise_server.reporting.rows import Period
from tierwise_server.suggesting.errors import SuggestError
from tierwise_server.suggesting.logged import LoggedPrompt

MOST_PROMPTS: Final = 5_000
"""Newest prompts that are looked at; bounds the time spent on embedding them."""

GOOD_QUALITY: Final = 0.7
BAD_QUALITY: Final = 0.3
LOW_MARGIN: Final = 0.05
_BAD_VERDICT: Final = 2


def mined(url: str, catalog: Catalog, period: Period) -> Iterator[LoggedPrompt]:
    """Yields kept prompts that went wrong, or that nothing decided clearly.

    A tier is given where somebody said which is right (`expected_tier`), or where the answer of
    a dearer tier, after an escalation, was accepted.

    Raises:
        ReportError: The ledger cannot be read.
        SuggestError: It keeps no prompts.
    """
    judged = (
        select(
            outcomes.c.decision_id,
            func.max(outcomes.c.highest_step).label("highest_step"),
            func.max(outcomes.c.expected_tier).label("expected_tier"),
            func.max(outcomes.c.final_tier).label("final_tier"),
            func.max(outcomes.c.error_class).label("error_class"),
            func.min(outcomes.c.quality).label("quality"),
            func.max(outcomes.c.verdict).label("verdict"),
        )
        .group_by(outcomes.c.decision_id)
        .subquery()
    )
    query = (
        select(
            prompts.c.text,
            decisions.c.tier,
            decisions.c.kind,
            decisions.c.margin,
            decisions.c.expected_tier,
            judged.c.expected_tier.label("judged_tier"),
            judged.c.highest_step,
            judged.c.final_tier,
            judged.c.error_class,
            judged.c.quality,
            judged.c.verdict,
        )
        .select_from(
            prompts.join(decisions, decisions.c.decision_id == prompts.c.decision_id).outerjoin(
                judged, judged.c.decision_id == prompts.c.decision_id
            )
        )
        .where(decided_in_period(decisions.c.decision_id, period), decisions.c.keep_nothing == 0)
        .order_by(decisions.c.decision_id.desc())
        .limit(MOST_PROMPTS)
    )
    with opened_ledger(url) as engine, engine.connect() as connection:
        rows = connection.execute(query).all()
        kept = rows or connection.execute(select(prompts.c.decision_id).limit(1)).all()
    if not kept:
        raise SuggestError("the ledger keeps no prompts; serve with --keep-prompts on to have some")
    seen: set[str] = set()
    for row in rows:
        found = _logged(row, catalog)
        if found is not None and found.text not in seen:
            seen.add(found.text)
            yield found


def _logged(row: AnyRow, catalog: Catalog) -> LoggedPrompt | None:
    """Returns a prompt to learn from, or None where all went well."""
    text = row.text.strip()
    expected = row.judged_tier or row.expected_tier or ""
    if expected and expected != row.tier and TierId(expected) in catalog.tier_by_id:
        return LoggedPrompt(text=text, tier=expected, source=f"expected in {expected}")
    is_bad = (row.quality is not None and row.quality <= BAD_QUALITY) or (
        row.quality is None and row.verdict == _BAD_VERDICT
    )
    if row.highest_step == StepKind.ESCALATION:
        accepted = not row.error_class and (row.quality is None or row.quality >= GOOD_QUALITY)
        final = row.final_tier if TierId(row.final_tier or "") in catalog.tier_by_id else ""
        tier = final if accepted and not is_bad and final != row.tier else ""
        return LoggedPrompt(text=text, tier=tier, source=f"escalated from {row.tier}")
    if is_bad:
        return LoggedPrompt(text=text, source=f"judged bad in {row.tier}")
    if row.kind in (DecisionKind.DEFAULT, DecisionKind.DEFAULT_RULE):
        return LoggedPrompt(text=text, source="matched nothing")
    if row.margin is not None and row.margin < LOW_MARGIN:
        return LoggedPrompt(text=text, source=f"low margin {row.margin:.2f}")
    return None
