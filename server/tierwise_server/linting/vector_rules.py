"""What the vectors of utterances and cases show: near duplicates, leaks and dead utterances."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tierwise_server.catalog.cases import Case
from tierwise_server.catalog.faults import quoted
from tierwise_server.catalog.lint_rules import LintRule
from tierwise_server.catalog.model import Catalog
from tierwise_server.linting.findings import Finding, Severity, found

NEAR: Final = 0.9
"""Cosine from which two texts count as the same in other words. With the default encoder, pairs
above it differ by an article or the order of words; from 0.8 to 0.9 they share a topic."""

SAME_IN_A_TASK: Final = 0.97
"""Likewise within one task, where close utterances do no harm and only cost space."""

NEIGHBOURS: Final = 10
"""An utterance is alive when it is among so many nearest ones of another utterance of its task. To
ask for the very nearest would call a third of any set dead, for so many are nobody's nearest."""

NEIGHBOUR_SHARE: Final = 4
"""Of a small task, a quarter of its utterances counts as near at most."""

_ROWS_AT_ONCE: Final = 1024
"""Rows of the table of all similarities that are in memory at a time."""

Matrix = NDArray[np.float32]


def vector_findings(
    catalog: Catalog, vectors: Matrix, cases: Sequence[Case], case_vectors: Matrix
) -> Iterator[Finding]:
    """Yields near duplicates, leaks and dead utterances.

    Args:
        catalog: The catalog.
        vectors: Unit vector of each of `catalog.utterances`.
        cases: Those that are compared with utterances.
        case_vectors: Unit vector of each of them.
    """
    yield from _near_duplicates(catalog, vectors)
    nearest = _nearest_of_cases(vectors, case_vectors)
    yield from _near_leaks(catalog, vectors, cases, case_vectors, nearest)
    yield from _dead_utterances(catalog, vectors, nearest)


def _near_duplicates(catalog: Catalog, vectors: Matrix) -> Iterator[Finding]:
    task = np.array([one.task_index for one in catalog.utterances], dtype=np.int64)
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        block = vectors[start : start + _ROWS_AT_ONCE] @ vectors[: start + _ROWS_AT_ONCE].T
        for row, column in np.argwhere(block >= NEAR).tolist():
            later = start + row
            is_close = block[row, column] >= SAME_IN_A_TASK or task[later] != task[column]
            if column < later and is_close:
                yield _near_duplicate(catalog, later, column, float(block[row, column]))


def _near_duplicate(catalog: Catalog, later: int, earlier: int, similarity: float) -> Finding:
    one, other = catalog.utterances[later], catalog.utterances[earlier]
    task, other_task = catalog.tasks[one.task_index], catalog.tasks[other.task_index]
    across = task.tier != other_task.tier
    where = f"{other_task.tier}/{other_task.id}" if task is not other_task else "the same task"
    return found(
        LintRule.NEAR_DUPLICATE,
        Severity.WARNING if across else Severity.NOTE,
        one.location,
        f"{quoted(one.text)} of {task.tier}/{task.id} is nearly {quoted(other.text)} of {where} at"
        f" {other.location} (similarity {similarity:.2f}).",
        "Keep the one that is right, or say in both what makes the difference."
        if across
        else "Keep one of the two.",
        [other.location],
    )


def _nearest_of_cases(vectors: Matrix, case_vectors: Matrix) -> NDArray[np.int64]:
    if len(case_vectors) == 0:
        return np.empty(0, dtype=np.int64)
    nearest: NDArray[np.int64] = (case_vectors @ vectors.T).argmax(axis=1)
    return nearest


def _near_leaks(
    catalog: Catalog,
    vectors: Matrix,
    cases: Sequence[Case],
    case_vectors: Matrix,
    nearest: NDArray[np.int64],
) -> Iterator[Finding]:
    for case, vector, place in zip(cases, case_vectors, nearest.tolist(), strict=True):
        similarity = float(vector @ vectors[place])
        if similarity >= NEAR:
            utterance = catalog.utterances[place]
            shown = case.prompt if case.prompt is not None else case.messages[-1].text
            yield found(
                LintRule.NEAR_LEAK,
                Severity.WARNING,
                case.location,
                f"The case {quoted(shown)} is nearly the utterance {quoted(utterance.text)} at"
                f" {utterance.location} (similarity {similarity:.2f}), so it measures little.",
                "Ask for something else in one of the two.",
                [utterance.location],
            )


def _dead_utterances(
    catalog: Catalog, vectors: Matrix, nearest: NDArray[np.int64]
) -> Iterator[Finding]:
    near_a_case = set(nearest.tolist())
    start = 0
    for task in catalog.tasks:
        count = len(task.utterances)
        rows = vectors[start : start + count]
        width = min(NEIGHBOURS, count // NEIGHBOUR_SHARE)
        if width > 0:
            table = rows @ rows.T
            np.fill_diagonal(table, -np.inf)
            near = set(np.argpartition(-table, width - 1, axis=1)[:, :width].ravel().tolist())
            for place, one in enumerate(task.utterances):
                if place not in near and start + place not in near_a_case:
                    yield found(
                        LintRule.DEAD_UTTERANCE,
                        Severity.NOTE,
                        one.location,
                        f"{quoted(one.text)} is the nearest of no case, and among the {width}"
                        f" nearest of no other utterance of {task.id}.",
                        "Check that it belongs here; if it does, add others of its kind.",
                    )
        start += count
