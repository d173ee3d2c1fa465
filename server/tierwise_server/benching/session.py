"""One benchmark from its options to its findings, but for what a person is asked and shown."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import httpx

from tierwise.providers.registry import ProviderRegistry
from tierwise.transport import AsyncTransport
from tierwise_server.benching.calling import Caller
from tierwise_server.benching.errors import BenchError
from tierwise_server.benching.functions import FunctionScorer
from tierwise_server.benching.models import BenchModel, check_callable, chosen_models
from tierwise_server.benching.purse import Purse
from tierwise_server.benching.run_file import RunFile
from tierwise_server.benching.running import BenchPlan, Progress, RunEnd, run_all
from tierwise_server.benching.sample_files import open_source, read_samples
from tierwise_server.benching.samples import Sample
from tierwise_server.catalog.faults import did_you_mean_or_all
from tierwise_server.catalog.model import Catalog
from tierwise_server.evidence.rows import EvidenceRow, EvidenceSource

LEAST_SAMPLES = 5
"""Fewest samples of a task: from fewer, any interval is all but empty of meaning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a benchmark is asked for."""

    samples: Sequence[str]
    """Files, or names of sets that come along."""
    tasks: Sequence[str] = ()
    """Empty for all that the samples have."""
    models: Sequence[str] = ()
    """Empty for all of the catalog."""
    judge: str = ""
    use_judge: bool = True
    """Whether samples with a rubric are judged."""
    baseline: str = ""
    functions: Sequence[FunctionScorer] = ()
    max_output_tokens: int = 1024
    temperature: float | None = None
    concurrency: int = 4
    cap_nano_usd: int | None = None
    """None means no cap."""
    seed: int = 0
    call_timeout_s: float = 120.0


def make_plan(options: Options, catalog: Catalog) -> BenchPlan:
    """Returns what is to be run.

    Raises:
        BenchError: A sample, task or model is not right, or can't be scored.
    """
    models = chosen_models(catalog, options.models)
    _check_model(options.baseline, "--baseline", [one.id for one in models])
    judge = None
    if options.judge and options.use_judge:
        _check_model(options.judge, "--judge", [one.id for one in catalog.models])
        (judge,) = chosen_models(catalog, [options.judge])
    return BenchPlan(
        samples=_samples(options, catalog, judge),
        models=models,
        judge=judge,
        baseline=options.baseline,
        max_output_tokens=options.max_output_tokens,
        temperature=options.temperature,
        concurrency=options.concurrency,
    )


def settings_of(plan: BenchPlan, functions: Sequence[FunctionScorer]) -> dict[str, str]:
    """Returns all that a run's results depend on, by name."""
    named = {f"function for {one.task or 'all tasks'}": one.name for one in functions}
    return plan.settings() | named


def check_before(plan: BenchPlan, registry: ProviderRegistry, *, cap_nano_usd: int | None) -> None:
    """Checks that all models can be called, and that a cap can hold.

    Raises:
        BenchError: With all that is missing, and what to do.
    """
    called = [*plan.models, *([plan.judge] if plan.judge is not None else [])]
    check_callable(called, registry, [one.id for one in plan.models])
    unpriced = sorted({one.id for one in called if one.price is None})
    if unpriced and cap_nano_usd is not None:
        raise BenchError(
            f"the price of {', '.join(unpriced)} is unknown, so that no cap can hold: state it in"
            " models.yaml, leave the model out with --models, or say --max-cost none"
        )


def carry_out(
    plan: BenchPlan, run: RunFile, registry: ProviderRegistry, options: Options, progress: Progress
) -> RunEnd:
    """Makes the calls that are still to be made. Blocks until then.

    Raises:
        BenchError: The run file can't be written.
    """

    async def main() -> RunEnd:
        transport = AsyncTransport(httpx.create_ssl_context())
        try:
            purse = Purse(options.cap_nano_usd, run.state.spent_nano_usd)
            caller = Caller(
                registry,
                transport,
                purse,
                seed=options.seed,
                call_timeout_s=options.call_timeout_s,
            )
            return await run_all(plan, run, caller, progress)
        finally:
            await transport.close()

    return asyncio.run(main())


def evidence(
    plan: BenchPlan, run: RunFile, quality_of: Mapping[tuple[str, str], float]
) -> Iterator[EvidenceRow]:
    """Yields a row for each sample and model that have a quality."""
    tier_of = {one.id: one.registered.tier for one in plan.models}
    for sample in plan.samples:
        for model, tier in tier_of.items():
            score = quality_of.get((sample.id, model))
            if score is not None:
                yield EvidenceRow(
                    prompt=sample.prompt,
                    task=sample.task,
                    model=model,
                    tier=tier,
                    quality=score,
                    source=EvidenceSource.BENCH,
                    time=datetime.datetime.fromisoformat(run.state.answers[sample.id, model].time),
                )


def _samples(options: Options, catalog: Catalog, judge: BenchModel | None) -> tuple[Sample, ...]:
    known = [one.id for one in catalog.tasks]
    for task in options.tasks:
        if task not in catalog.task_by_id:
            advice = did_you_mean_or_all(task, known)
            raise BenchError(f"--tasks: there is no task {task!r} in the catalog. {advice}")
    samples = read_samples([open_source(one) for one in options.samples], known)
    if options.tasks:
        samples = tuple(one for one in samples if one.task in options.tasks)
        missing = sorted(set(options.tasks) - {one.task for one in samples})
        if missing:
            raise BenchError(f"there are no samples for {', '.join(missing)}; add some")
    judged = [one for one in samples if one.is_judged]
    if judged and judge is None and options.use_judge:
        raise BenchError(
            f"{len(judged)} samples have a rubric, the first at {judged[0].location}: name a model"
            " with --judge, or say --no-judge to score them by their checks alone"
        )
    bare = [
        one
        for one in samples
        if not (one.is_judged and judge)
        and not one.checks
        and not any(each.applies_to(one) for each in options.functions)
    ]
    if bare:
        raise BenchError(
            f"{len(bare)} samples have nothing but a rubric, the first at {bare[0].location}:"
            " without a judge they can't be scored. Add checks, or name a --judge"
        )
    _check_counts(samples)
    return samples


def _check_counts(samples: Sequence[Sample]) -> None:
    counts: dict[str, int] = {}
    for one in samples:
        counts[one.task] = counts.get(one.task, 0) + 1
    few = {task: count for task, count in counts.items() if count < LEAST_SAMPLES}
    if few or not counts:
        named = ", ".join(f"{task} has {count}" for task, count in few.items()) or "there are none"
        raise BenchError(
            f"too few samples to conclude anything: {named}. A task needs at least"
            f" {LEAST_SAMPLES}, better 20; add some"
        )


def _check_model(model: str, flag: str, known: Sequence[str]) -> None:
    if model and model not in known:
        advice = did_you_mean_or_all(model, known)
        raise BenchError(f"{flag}: there is no model {model!r} among them. {advice}")
