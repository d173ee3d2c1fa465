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
    decided = _count(response.differences)
    moved_count = _count(filter(_moves, response.differences))
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
    yield from _task_lines(response.differences)


def _task_lines(differences: Iterable[CandidateDifference]) -> Iterator[str]:
    """Yields the tasks whose decisions would move, those with the most first; the rest in sum."""
    by_task: dict[str, list[CandidateDifference]] = defaultdict(list)
    for one in differences:
        by_task[one.task_id].append(one)
    moves = {task: [one for one in cells if _moves(one)] for task, cells in by_task.items()}
    for task in sorted(moves, key=lambda one: -_count(moves[one])):
        cells = by_task[task]
        if not moves[task]:
            continue
        renamed = sum(one.other_task_count for one in cells)
        counts = f"{_count(moves[task])} of {_count(cells)} to another tier, {renamed} another task"
        yield f"{task or NO_TASK}: {counts}"
        for one in moves[task]:
            move = f"{one.tier_id} -> {one.candidate_tier_id}"
            yield _cost_line(f"  {move}: {one.decision_count}, expected cost", [one])
    still = [task for task, moved in moves.items() if not moved]
    if still:
        count = sum(_count(by_task[task]) for task in still)
        yield f"no other tier: {len(still)} tasks with {count} decisions"


def _moves(one: CandidateDifference) -> bool:
    return one.tier_id != one.candidate_tier_id


def _count(cells: Iterable[CandidateDifference]) -> int:
    return sum(one.decision_count for one in cells)


def _cost_line(head: str, cells: Iterable[CandidateDifference]) -> str:
    cells = list(cells)
    priced = sum(one.priced_count for one in cells)
    if not priced:
        return f"{head}: not known"
    before = sum(one.cost_nano_usd for one in cells)
    after = sum(one.candidate_cost_nano_usd for one in cells)
    change = f", {after / before - 1:+.1%}" if before else ""
    return f"{head}: {dollars(before)} -> {dollars(after)}{change} (of {priced} priced)"
