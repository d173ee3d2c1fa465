"""Chooses what to add to a catalog, one utterance after the other, by what it would change.

Each step ranks all candidates by a cheap estimate, tries the best of them for real (the scorer is
fitted anew and decides every held-out case), and takes the one that gains most. The estimate is
that of facility location: how much nearer the held-out prompts of the task come to it, less how
much nearer those of other tasks do.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tierwise_server.catalog.ids import TaskId
from tierwise_server.catalog.tier_files import MAX_PROMPT_LENGTH
from tierwise_server.catalog.wording import normalized
from tierwise_server.evaluation import Judgement
from tierwise_server.scoring import phrases_of
from tierwise_server.suggesting.case_bench import Addition, CaseBench, best_task
from tierwise_server.suggesting.clusters import clusters
from tierwise_server.suggesting.logged import LoggedPrompt

TRIED: Final = 3
"""Candidates that are tried for real in each step."""

LEAK: Final = 0.9
"""Similarity to a case from which a prompt must not become an utterance: the case would measure
nothing any more."""

REPEATED: Final = 0.95
"""Similarity to an utterance of its task from which a prompt adds nothing."""

WRONG_COUNTS: Final = 4.0
"""How much more a held-out prompt counts in the estimate that goes wrong as yet."""

ASKED_AGAIN: Final = 0.25
"""What it is worth in the estimate that the prompt itself goes wrong as yet: about as much as one
other prompt of its kind."""

MOST_OF_NEW_TASK: Final = 8
"""Utterances that a new task begins with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What an addition does to held-out cases."""

    fixed: tuple[str, ...] = ()
    """Places of cases that were wrong and become right."""
    broken: tuple[str, ...] = ()
    """Places of cases that were right and become wrong."""
    disturbed: int = 0
    """Other cases that go to another task than before."""
    logged_fixed: int = 0
    """Other logged prompts, of known tier, that were wrong and become right."""
    logged_broken: int = 0
    """Those that were right and become wrong."""

    @property
    def net(self) -> int:
        """Cases and logged prompts gained, less those lost."""
        return len(self.fixed) - len(self.broken) + self.logged_fixed - self.logged_broken


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What could be added, and what it would do on top of the proposals before it."""

    additions: tuple[Addition, ...]
    """One utterance, or those of a new task."""
    effect: Effect
    why: str
    nearest: str
    """The utterance that is nearest to the first addition, with its task and place."""

    @property
    def is_new_task(self) -> bool:
        """Whether it brings a task."""
        return bool(self.additions[0].description)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is proposed at most."""

    utterances: int = 10
    per_task: int = 5
    new_tasks: int = 3


def effect_of(
    bench: CaseBench,
    before: Sequence[Judgement],
    after: Sequence[Judgement],
    added: Collection[str] = (),
) -> Effect:
    """Compares what held-out prompts did with what they do.

    Args:
        bench: Where they are.
        before: How they were decided.
        after: How they are decided now.
        added: Texts that became utterances, and say nothing any more.
    """
    fixed, broken = [], []
    logged_fixed = logged_broken = disturbed = 0
    for one, old, new in zip(bench.held_out, before, after, strict=True):
        was, is_now = _is_right(old), _is_right(new)
        if one.logged_text:
            counts = one.logged_text not in added
            logged_fixed += counts and is_now and not was
            logged_broken += counts and was and not is_now
        elif is_now and not was:
            fixed.append(one.question.source)
        elif was and not is_now:
            broken.append(one.question.source)
        elif old.decided_task != new.decided_task:
            disturbed += 1
    return Effect(
        fixed=tuple(fixed),
        broken=tuple(broken),
        disturbed=disturbed,
        logged_fixed=logged_fixed,
        logged_broken=logged_broken,
    )


def _is_right(one: Judgement) -> bool:
    """Returns whether tier and task are what was expected, where a task was."""
    return one.right and (not one.expected_task or one.decided_task == one.expected_task)


class Proposing:
    """One run over a set of logged prompts."""

    def __init__(self, bench: CaseBench, logged: Sequence[LoggedPrompt], limits: Limits) -> None:
        """Prepares the candidates; their vectors have to be known to the bench.

        Args:
            bench: The catalog and its cases.
            logged: Prompts, each text once.
            limits: How much to propose.
        """
        self._bench = bench
        self._limits = limits
        self._taken: list[Addition] = []
        self._cases = np.array([one.vector for one in bench.held_out], dtype=np.float32)
        self._known = {normalized(one.text) for one in bench.catalog.utterances}
        self._known |= {normalized(one.text) for one in bench.catalog.background_utterances}
        usable = [one for one in logged if self._is_usable(one.text)]
        self._unknown = [one for one in usable if not one.tier and self._matches_nothing(one.text)]
        self._candidates = [
            (self._placed(one), one.source) for one in usable if one.tier or one.task
        ]
        self._tasks = {str(task.id): number for number, task in enumerate(bench.catalog.tasks)}
        bench.measure_on([one for one in usable if one.tier])
        self._judged = bench.before
        self._cases = np.array([one.vector for one in bench.held_out], dtype=np.float32)
        place_of = {one.text: one.task for one, _ in self._candidates}
        self._expected = np.array(
            [
                self._tasks.get(old.expected_task or place_of.get(one.logged_text, ""), -1)
                for one, old in zip(bench.held_out, bench.before, strict=True)
            ],
            dtype=np.int64,
        )
        self._place = {one.logged_text: n for n, one in enumerate(bench.held_out)}
        self._nearness = self._nearness_of_cases()

    def proposals(self) -> Iterator[Proposal]:
        """Yields utterances, the most useful first, then new tasks."""
        while len(self._taken) < self._limits.utterances:
            found = self._next()
            if found is None:
                break
            yield found
        yield from self._new_tasks()

    # Utterances of tasks that are there ------------------------------------------------------

    def _is_usable(self, text: str) -> bool:
        if len(text) > MAX_PROMPT_LENGTH or "\n" in text or normalized(text) in self._known:
            return False
        vector = self._bench.vector_of(text)
        return len(self._cases) == 0 or float((self._cases @ vector).max()) < LEAK

    def _placed(self, one: LoggedPrompt) -> Addition:
        catalog, vector = self._bench.catalog, self._bench.vector_of(one.text)
        task = one.task or best_task(
            catalog, self._bench.scorer, vector, phrases_of(one.text), one.tier
        )
        tier = catalog.task_by_id[TaskId(task)].tier
        return Addition(text=one.text, task=task, tier=tier)

    def _nearness_of_cases(self) -> NDArray[np.float32]:
        """Returns how near each case is to its own task as it stands."""
        near = np.full(len(self._expected), -1.0, dtype=np.float32)
        for number, task in enumerate(self._bench.catalog.tasks):
            rows = np.array([self._bench.vector_of(one.text) for one in task.utterances])
            ours = np.flatnonzero(self._expected == number)
            if len(ours):
                near[ours] = (self._cases[ours] @ rows.T).max(axis=1)
        return near

    def _estimates(self) -> list[tuple[float, int]]:
        wrong = np.array([not _is_right(one) for one in self._judged])
        weight = np.where(wrong, WRONG_COUNTS, 1.0)
        full = {
            task
            for task, count in Counter(one.task for one in self._taken).items()
            if count >= self._limits.per_task
        }
        estimates = []
        for place, (one, _) in enumerate(self._candidates):
            if one.task in full:
                continue
            gains = np.maximum(self._cases @ self._bench.vector_of(one.text) - self._nearness, 0.0)
            itself = self._place[one.text]
            own = self._expected == self._tasks[one.task]
            others = ~own & (self._expected >= 0)
            own[itself] = False
            value = float((gains * weight)[own].sum() - gains[others].sum())
            # Whoever asked once may ask again.
            value += ASKED_AGAIN if wrong[itself] else 0.0
            estimates.append((value, place))
        return sorted(estimates, key=lambda pair: (-pair[0], pair[1]))

    def _next(self) -> Proposal | None:
        """Returns the best addition that does more good than harm, and takes it."""
        best: tuple[tuple[int, float], Addition, Effect, list[Judgement], int] | None = None
        for value, place in self._estimates()[:TRIED]:
            one, _ = self._candidates[place]
            after = self._bench.judged(*self._bench.with_additions([*self._taken, one]))
            added = {other.text for other in (*self._taken, one)}
            effect = effect_of(self._bench, self._judged, after, added)
            rank = (effect.net, value)
            useful = effect.net > 0 or (effect.net == 0 and value > 0.0)
            if useful and (best is None or rank > best[0]):
                best = rank, one, effect, after, place
        if best is None:
            return None
        _, one, effect, after, place = best
        proposal = self._proposal([one], effect, self._candidates[place][1])
        self._take(one, after)
        return proposal

    def _take(self, one: Addition, after: list[Judgement]) -> None:
        self._taken.append(one)
        self._judged = after
        vector = self._bench.vector_of(one.text)
        own = np.flatnonzero(self._expected == self._tasks[one.task])
        self._nearness[own] = np.maximum(self._nearness[own], self._cases[own] @ vector)
        self._candidates = [
            (other, source)
            for other, source in self._candidates
            if other is not one
            and (other.task != one.task or self._bench.vector_of(other.text) @ vector < REPEATED)
        ]

    def _proposal(self, additions: Sequence[Addition], effect: Effect, why: str) -> Proposal:
        catalog = self._bench.catalog
        vector = self._bench.vector_of(additions[0].text)
        found = self._bench.scorer.nearest(vector, 1)
        near = catalog.utterances[int(found.utterances[0])]
        task = catalog.tasks[near.task_index]
        return Proposal(
            additions=tuple(additions),
            effect=effect,
            why=why,
            nearest=f"{near.text!r} of {task.tier}/{task.id} at {near.location}"
            f" (similarity {float(found.similarities[0]):.2f})",
        )

    # New tasks ---------------------------------------------------------------------------------

    def _matches_nothing(self, text: str) -> bool:
        """Returns whether the catalog has no place for a prompt, background included."""
        catalog, vector = self._bench.catalog, self._bench.vector_of(text)
        scores = self._bench.scorer.score(vector, phrases_of(text))
        best = int(scores.task_scores.argmax())
        is_low = float(scores.task_scores[best]) < catalog.threshold_of(catalog.tasks[best])
        return is_low and scores.background == 0.0

    def _new_tasks(self) -> Iterator[Proposal]:
        if not self._unknown:
            return
        vectors = np.array([self._bench.vector_of(one.text) for one in self._unknown])
        for group in clusters(vectors)[: self._limits.new_tasks]:
            texts = [self._unknown[place].text for place in group][:MOST_OF_NEW_TASK]
            task = self._name_of(texts)
            additions = [
                Addition(
                    text=text,
                    task=task,
                    tier=self._bench.catalog.default_tier,
                    description=f"Prompts like {texts[0]!r}; name and describe me.",
                )
                for text in texts
            ]
            after = self._bench.judged(*self._bench.with_additions([*self._taken, *additions]))
            effect = effect_of(self._bench, self._judged, after)
            if effect.net >= 0:
                yield self._proposal(
                    additions, effect, f"{len(group)} prompts that match nothing and are alike"
                )

    def _name_of(self, texts: Sequence[str]) -> str:
        """Returns an id of the words that the texts share and other utterances don't."""
        ours = Counter(
            word for text in texts for word in set(re.findall(r"[a-z]{3,}", text.lower()))
        )
        known = Counter(
            word
            for one in self._bench.catalog.utterances
            for word in set(re.findall(r"[a-z]{3,}", one.text.lower()))
        )
        ranked = sorted(ours, key=lambda word: (-ours[word] / (1 + known[word]), word))
        name = "-".join(ranked[:2]) or "new"
        taken = {*self._bench.catalog.task_by_id, *self._bench.catalog.tier_by_id}
        return name if name not in taken else f"{name}-prompts"


def _word_counts(texts: Sequence[str]) -> Counter[str]:
    """Returns in how many texts each word occurs."""
    return Counter(word for text in texts for word in set(re.findall(r"[a-z]{3,}", text.lower())))
