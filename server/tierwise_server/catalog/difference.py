"""Owns how the tasks of two catalogs differ, as a reload reports it."""

from dataclasses import dataclass
from enum import StrEnum

from tierwise_server.catalog.ids import TaskId
from tierwise_server.catalog.model import Catalog, Task


class Change(StrEnum):
    """What became of a task from one catalog to the next."""

    ADDED = "added"
    REMOVED = "removed"
    MODIFIED = "modified"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDifference:
    """What became of one task. A task that moved to another tier is modified."""

    task: TaskId
    change: Change
    added_utterance_count: int
    removed_utterance_count: int


def task_differences(before: Catalog, after: Catalog) -> tuple[TaskDifference, ...]:
    """Returns the tasks that differ, by id. The order of utterances makes no difference."""
    names = sorted({*before.task_by_id, *after.task_by_id})
    found = (_difference(before.task_by_id.get(one), after.task_by_id.get(one)) for one in names)
    return tuple(one for one in found if one is not None)


def _difference(before: Task | None, after: Task | None) -> TaskDifference | None:
    task = after or before
    if task is None or _content(before) == _content(after):
        return None
    old, new = _texts(before), _texts(after)
    if before is None:
        change = Change.ADDED
    else:
        change = Change.REMOVED if after is None else Change.MODIFIED
    return TaskDifference(
        task=task.id,
        change=change,
        added_utterance_count=len(new - old),
        removed_utterance_count=len(old - new),
    )


def _content(task: Task | None) -> object:
    return task and (task.tier, task.description, task.threshold, _texts(task))


def _texts(task: Task | None) -> frozenset[str]:
    return frozenset(one.text for one in task.utterances) if task else frozenset()
