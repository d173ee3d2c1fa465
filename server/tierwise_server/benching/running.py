"""Runs a benchmark: every sample on every model, then the judge, as far as the cap goes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Final, Protocol

from tierwise.error_class import ErrorClass
from tierwise_server.benching.calling import CAP_REACHED, Caller, CallResult, CallText
from tierwise_server.benching.errors import BenchError
from tierwise_server.benching.judging import (
    JUDGE_OUTPUT_TOKENS,
    NonsenseError,
    Order,
    orders,
    question,
    verdict,
)
from tierwise_server.benching.models import BenchModel
from tierwise_server.benching.purse import CapReachedError
from tierwise_server.benching.run_file import AnswerRow, JudgementRow, Row, RunFile
from tierwise_server.benching.samples import Sample

NONSENSE: Final = "nonsense"
"""Error of a judgement that can't be read as a verdict."""

_HOPELESS: Final = frozenset({ErrorClass.AUTHENTICATION.word, ErrorClass.QUOTA_EXHAUSTED.word})
"""Failures that every further call of the model would meet too."""

REFUSED: Final = ErrorClass.CONTENT_POLICY.word
_FINAL: Final = frozenset({REFUSED, ErrorClass.CONTEXT_TOO_LONG.word, NONSENSE})
"""Failures that are results: they are not tried again when a run goes on."""


class Progress(Protocol):
    """What is told how far a run is."""

    def update(self, calls: int, spent_nano_usd: int) -> None:
        """Takes how many further calls are done, and what the run has cost so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchPlan:
    """What is to be run."""

    samples: tuple[Sample, ...]
    models: tuple[BenchModel, ...]
    judge: BenchModel | None = None
    """None where no sample is judged."""
    baseline: str = ""
    """Model whose answer others are compared with, where a sample has no reference."""
    max_output_tokens: int
    temperature: float | None = None
    concurrency: int
    """Calls of one model at the same time."""

    def text(self, sample: Sample, model: BenchModel) -> CallText:
        """Returns what a model is asked."""
        wanted = sample.max_output_tokens or self.max_output_tokens
        return CallText(
            system=sample.system,
            prompt=sample.prompt,
            max_output_tokens=min(wanted, model.registered.max_output_tokens),
            temperature=self.temperature,
        )

    def judged(self, sample: Sample) -> bool:
        """Returns whether the judge has a say on a sample."""
        return self.judge is not None and sample.is_judged

    def settings(self) -> dict[str, str]:
        """Returns all that answers and judgements depend on, by name."""
        judge = self.judge
        return {
            "max output tokens": str(self.max_output_tokens),
            "temperature": str(self.temperature),
            "judge": _address(judge) if judge else "none",
            "baseline": self.baseline or "none",
            **{f"model {one.id}": _address(one) for one in self.models},
            **{f"sample {one.id}": one.digest for one in self.samples},
        }


@dataclass(slots=True)
class RunEnd:
    """How a run ended."""

    cap_reached: bool = False
    given_up: dict[str, str] = field(default_factory=dict)
    """Models that are called no more, and why."""


def other_answer(
    plan: BenchPlan, sample: Sample, model: str, answers: Mapping[tuple[str, str], AnswerRow]
) -> str | None:
    """Returns what a model's answer is compared with: the reference, else that of the baseline."""
    if sample.references:
        return sample.references[0]
    baseline = answers.get((sample.id, plan.baseline))
    return baseline.text if baseline is not None and model != plan.baseline else None


def judge_text(
    judge: BenchModel, sample: Sample, answer: str, other: str | None, order: Order
) -> CallText:
    """Returns what the judge is asked of an answer."""
    told, asked = question(sample, answer, other, order)
    most = min(JUDGE_OUTPUT_TOKENS, judge.registered.max_output_tokens)
    return CallText(system=told, prompt=asked, max_output_tokens=most)


def in_turn(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """Returns the samples with those of all tasks in turn, so that a run cut short has of each."""
    by_task: dict[str, list[Sample]] = {}
    for one in samples:
        by_task.setdefault(one.task, []).append(one)
    return tuple(one for row in zip_longest(*by_task.values()) for one in row if one is not None)


def is_done(row: Row | None) -> bool:
    """Returns whether a row is a result, and no failure that another attempt may not meet."""
    return row is not None and (not row.error or row.error in _FINAL)


def open_answers(plan: BenchPlan, run: RunFile) -> list[tuple[Sample, BenchModel]]:
    """Returns what is still to be asked, sample by sample."""
    return [
        (sample, model)
        for sample in in_turn(plan.samples)
        for model in plan.models
        if not is_done(run.state.answers.get((sample.id, model.id)))
    ]


def open_judgements(
    plan: BenchPlan, run: RunFile
) -> Iterator[tuple[Sample, AnswerRow, str | None, Order]]:
    """Yields what is still to be judged, of the answers that there are."""
    answers = run.state.answers
    for sample in in_turn(plan.samples):
        for model in plan.models if plan.judged(sample) else ():
            row = answers.get((sample.id, model.id))
            if row is None or row.text is None:
                continue
            if not sample.references and model.id == plan.baseline:
                continue  # It would be compared with itself.
            other = other_answer(plan, sample, model.id, answers)
            if plan.baseline and not sample.references and other is None:
                continue  # The baseline has no answer: nothing can be said.
            for order in orders(other):
                if not is_done(run.state.judgements.get((sample.id, model.id, order))):
                    yield sample, row, other, order


async def run_all(plan: BenchPlan, run: RunFile, caller: Caller, progress: Progress) -> RunEnd:
    """Makes all calls that are still to be made, and writes what becomes of each.

    Raises:
        BenchError: A row can't be written. What was written before is kept.
    """
    runner = _Runner(plan, run, caller, progress)
    try:
        await runner.answers()
        if plan.judge is not None and not runner.end.cap_reached:
            await runner.judgements(plan.judge)
    except* BenchError as group:
        raise next(_leaves(group)) from None
    return runner.end


def _leaves(group: BaseExceptionGroup[BenchError]) -> Iterator[BenchError]:
    for one in group.exceptions:
        if isinstance(one, BaseExceptionGroup):
            yield from _leaves(one)
        else:
            yield one


class _Runner:
    def __init__(self, plan: BenchPlan, run: RunFile, caller: Caller, progress: Progress) -> None:
        self._plan = plan
        self._run = run
        self._caller = caller
        self._progress = progress
        # One row after another, off the event loop: a slow disk must not look like a slow model.
        self._writing = asyncio.Lock()
        self.end = RunEnd()

    async def answers(self) -> None:
        queues: dict[str, list[Callable[[], Awaitable[None]]]] = {}
        for sample, model in open_answers(self._plan, self._run):
            queues.setdefault(model.id, []).append(self._answering(sample, model))
        await self._work(queues.values())

    async def judgements(self, judge: BenchModel) -> None:
        work = [
            self._judging(judge, sample, row, other, order)
            for sample, row, other, order in open_judgements(self._plan, self._run)
        ]
        await self._work([work])

    async def _work(self, queues: Iterable[Sequence[Callable[[], Awaitable[None]]]]) -> None:
        """Does the work of each queue in order, so many at a time of each."""
        async with asyncio.TaskGroup() as group:
            for queue in queues:
                waiting = iter(queue)
                for _ in range(self._plan.concurrency):
                    group.create_task(self._worker(waiting))

    async def _worker(self, waiting: Iterator[Callable[[], Awaitable[None]]]) -> None:
        for work in waiting:
            if self.end.cap_reached:
                return
            try:
                await work()
            except CapReachedError:
                self.end.cap_reached = True

    def _answering(self, sample: Sample, model: BenchModel) -> Callable[[], Awaitable[None]]:
        async def answer() -> None:
            result = await self._call(
                model, self._plan.text(sample, model), f"{sample.id} {model.id}"
            )
            if result is None:
                return
            row = AnswerRow(
                sample=sample.id,
                model=model.id,
                time=_now(),
                text=result.text,
                error=result.error,
                message=result.message,
                cut=result.cut,
                input_tokens=result.input_tokens,
                output_tokens=result.output_tokens,
                cost_nano_usd=result.cost_nano_usd,
                spent_nano_usd=result.spent_nano_usd,
                duration_s=result.duration_s,
                served_model=result.served_model,
                attempts=result.attempts,
            )
            await self._add(f"{sample.id} {model.id}", row)

        return answer

    def _judging(
        self,
        judge: BenchModel,
        sample: Sample,
        row: AnswerRow,
        other: str | None,
        order: Order,
    ) -> Callable[[], Awaitable[None]]:
        async def ask() -> None:
            text = judge_text(judge, sample, row.text or "", other, order)
            call = f"{sample.id} {row.model} {order}"
            result = await self._call(judge, text, call)
            if result is None:
                return
            score, error, message = None, result.error, result.message
            if result.text is not None:
                try:
                    score = verdict(result.text, order)
                except NonsenseError as nonsense:
                    error, message = NONSENSE, str(nonsense)
            judgement = JudgementRow(
                sample=sample.id,
                model=row.model,
                order=order,
                time=_now(),
                score=score,
                error=error,
                message=message,
                spent_nano_usd=result.spent_nano_usd,
            )
            await self._add(call, judgement)

        return ask

    async def _call(self, model: BenchModel, text: CallText, call: str) -> CallResult | None:
        """Calls a model, unless it was given up."""
        if model.id in self.end.given_up:
            return None

        async def note(most_nano_usd: int) -> None:
            async with self._writing:
                await asyncio.to_thread(self._run.begin, call, most_nano_usd)

        result = await self._caller.call(model, text, note)
        if result.error in _HOPELESS:
            self.end.given_up.setdefault(model.id, result.message)
        if result.error == CAP_REACHED:
            self.end.cap_reached = True
        return result

    async def _add(self, call: str, row: Row) -> None:
        async with self._writing:
            await asyncio.to_thread(self._run.add, call, row)
        self._progress.update(1, self._run.state.spent_nano_usd)


def _address(model: BenchModel) -> str:
    one = model.registered
    return f"{one.provider}/{one.name}{f' at {one.base_url}' if one.base_url else ''}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
