"""`tierwise candidate compare`: two revisions side by side, from the ledger."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import sys
from collections.abc import Iterator, Sequence

from tierwise_server.reporting.database import opened_ledger
from tierwise_server.reporting.errors import ReportError
from tierwise_server.reporting.revisions import (
    ALL_TASKS,
    FEW,
    Difference,
    TaskComparison,
    compare_revisions,
)
from tierwise_server.settings import default_ledger, environment_variable

MISUSE = 2


def run(live: str, candidate: str, *, ledger: str | None, since: str | None, as_json: bool) -> int:
    """Prints the comparison and returns the exit status: 2 when there is none."""
    url = ledger or os.environ.get(environment_variable("ledger")) or default_ledger()
    try:
        with opened_ledger(url) as engine:
            found = compare_revisions(engine, live, candidate, since_ms=_since_ms(since))
    except ReportError as error:
        print(f"tierwise candidate compare: {error}", file=sys.stderr)
        return MISUSE
    if as_json:
        tasks = [dataclasses.asdict(one) for one in found]
        print(json.dumps({"live": live, "candidate": candidate, "tasks": tasks}))
    else:
        print("\n".join(_lines(live, candidate, found)))
    return 0


def _since_ms(since: str | None) -> int:
    if since is None:
        return 0
    try:
        day = datetime.datetime.strptime(since, "%Y-%m-%d").replace(tzinfo=datetime.UTC)
    except ValueError as error:
        raise ReportError(f"--since takes a date as 2026-01-31, not {since!r}") from error
    return int(day.timestamp() * 1000)


def _lines(live: str, candidate: str, found: Sequence[TaskComparison]) -> Iterator[str]:
    yield f"live {live}, candidate {candidate}; differences are candidate minus live, with 95 %"
    if not found:
        yield "no call of either was reported"
    for one in found:
        name = "all tasks" if one.task == ALL_TASKS else one.task
        yield f"{name}: {one.live_calls} calls, {one.candidate_calls} of the candidate"
        if one.cost_usd is not None:
            relative = ""
            if one.cost_usd.live:
                relative = f" ({one.cost_usd.value / one.cost_usd.live:+.1%})"
            few = f"; fewer than {FEW} calls, so only a hint" if one.is_few else ""
            yield f"  cost of a call  {_shown(one.cost_usd, '$', 6)}{relative}{few}"
        if one.quality is not None:
            judged = f"of {one.live_judged} and {one.candidate_judged} judged"
            yield f"  quality         {_shown(one.quality, '', 3)}, {judged}"


def _shown(one: Difference, unit: str, digits: int) -> str:
    sign = "clear" if one.is_clear else "not clear"
    return (
        f"{unit}{one.live:.{digits}f} -> {unit}{one.candidate:.{digits}f},"
        f" {one.value:+.{digits}f} [{one.low:+.{digits}f}, {one.high:+.{digits}f}] {sign}"
    )
