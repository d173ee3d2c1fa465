"""How a candidate compares, as text for people."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from tierwise.commands.render import dollars, value_name
from tierwise.v1.catalog_service_pb2 import (
    CandidateDifference,
    CandidateState,
    GetCandidateStatusResponse,
)

NO_TASK = "(no task)"


def status_lines(response: GetCandidateStatusResponse) -> Iterator[str]:
    """Yields how a candidate stands, and by task what it would change."""
    yield f"in service {response.revision}, candidate {response.candidate_revision or 'none'}"
    yield f"state: {value_name(CandidateState, response.state)}"
    for fault in response.faults:
        yield f"  {fault.source_file}:{fault.source_line}: {fault.message} {fault.suggestion}"
    if not response.HasField("start_time"):
        return
    decided = sum(one.decision_count for one in response.differences)
    moved = [one for one in response.differences if one.tier_id != one.candidate_tier_id]
    moved_count = sum(one.decision_count for one in moved)
    since = response.start_time.ToDatetime().strftime("%Y-%m-%d %H:%M UTC")
    share = f" ({moved_count / decided:.1%})" if decided else ""
    yield f"{decided} decisions by both since {since}; another tier in {moved_count}{share}"
    yield _cost_line("expected cost", response.differences)
    for reason, count in sorted(response.uncompared_counts.items()):
        yield f"not compared: {count} ({reason})"
    if response.canary_share:
        yield (
            f"decided for callers: {response.live_decision_count} by what is in service,"
            f" {response.candidate_decision_count} by the candidate"
            f" (share {response.canary_share:g})"
        )
    by_task: dict[str, list[CandidateDifference]] = defaultdict(list)
    for one in response.differences:
        by_task[one.task_id].append(one)
    for task, cells in by_task.items():
        count = sum(one.decision_count for one in cells)
        other = sum(one.decision_count for one in cells if one.tier_id != one.candidate_tier_id)
        renamed = sum(one.other_task_count for one in cells)
        moves = f"{other} with another tier, {renamed} with another task"
        yield f"{task or NO_TASK}: {count} decisions, {moves}"
        for one in cells:
            if one.tier_id != one.candidate_tier_id:
                move = f"{one.tier_id} -> {one.candidate_tier_id}"
                yield _cost_line(f"  {move}: {one.decision_count}, expected cost", [one])


def _cost_line(head: str, cells: Iterable[CandidateDifference]) -> str:
    cells = list(cells)
    priced = sum(one.priced_count for one in cells)
    if not priced:
        return f"{head}: not known"
    before = sum(one.cost_nano_usd for one in cells)
    after = sum(one.candidate_cost_nano_usd for one in cells)
    change = f", {after / before - 1:+.1%}" if before else ""
    return f"{head}: {dollars(before)} -> {dollars(after)}{change} (of {priced} priced)"
