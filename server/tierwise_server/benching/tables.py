"""The tables of a benchmark's report, and what is said around them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from tierwise_server.benching.cells import Cell
from tierwise_server.benching.findings import Findings
from tierwise_server.benching.resampling import RESAMPLES, Interval
from tierwise_server.reporting.table import ALERT, Table
from tierwise_server.reporting.wording import UNKNOWN, count, duration, percent, places_for, usd

_PER_CALLS: Final = 1000
"""Costs are shown for so many calls: those of one are too small to read."""

_COST: Final = "per 1,000"
"""Heading of costs."""

_CONTRADICTIONS_ALERT: Final = 0.3
_NONSENSE_ALERT: Final = 0.1


def bench_tables(found: Findings) -> tuple[Table, ...]:
    """Returns the tables in their order; those without content are left out."""
    parts: tuple[Callable[[Findings], Iterator[Table]], ...] = (
        _choices,
        _matrix,
        _policies,
        _dominated,
        _measures,
        _judge,
    )
    return tuple(table for part in parts for table in part(found))


def heading(found: Findings) -> tuple[str, ...]:
    """Returns what was measured, in lines."""
    samples = sum(found.cells[task, found.models[0]].samples for task in found.tasks)
    lines = [
        f"{_plural(len(found.tasks), 'task')}, {_plural(samples, 'sample')},"
        f" {_plural(len(found.models), 'model')}; the bar is {found.bar:g}, the confidence"
        f" asked for {found.confidence:g}",
        f"Spent {usd(found.spent_nano_usd, places_for(found.spent_nano_usd))}, judge included",
    ]
    if found.is_stopped:
        lines.append("The cap ended the run before it was whole: raise --max-cost and run it again")
    lines += [f"{model} is called no more: {why}" for model, why in found.given_up.items()]
    return tuple(lines)


def headline(found: Findings) -> tuple[tuple[str, str, str], ...]:
    """Returns the figures that a person looks for first."""
    chosen = [one for one in found.choices if one.model]
    policies = {one.name.partition(":")[0]: one for one in found.policies}
    figures = [
        (
            "tasks with a choice",
            f"{len(chosen)} of {len(found.choices)}",
            f"a model clears {found.bar:g} with {percent(found.confidence)}",
        )
    ]
    by_task, dearest = policies.get("by task, as chosen"), policies.get("always the dearest")
    if by_task is not None and dearest is not None and dearest.cost_nano_usd:
        figures += [
            (
                "cost by task",
                percent(by_task.cost_nano_usd / dearest.cost_nano_usd),
                "of the dearest model for all",
            ),
            (
                "quality by task",
                f"{by_task.quality.mean:.2f}",
                f"the dearest: {dearest.quality.mean:.2f}",
            ),
        ]
    figures.append(("dominated models", count(len(found.dominated)), "dearer and not better"))
    return tuple(figures)


def closing_notes(found: Findings) -> tuple[str, ...]:
    """Returns what holds for the whole report."""
    notes = [
        f"Intervals hold the true mean with 95 %: Bayesian bootstrap of {RESAMPLES} resamples with"
        f" seed {found.seed}, a score of 0 and one of 1 added that count half each. `Clears` is the"
        " share of resamples whose mean reaches the bar; confidence is that after Bonferroni's"
        " correction for the number of models that were to choose from.",
        "Costs are of answers at the registry's prices, for 1,000 calls like the samples."
        " Latencies are from sending a call to the end of its answer; they differ by the hour.",
    ]
    if found.unpriced:
        notes.append(
            f"Of unknown price, so never the cheapest: {', '.join(found.unpriced)}. State prices in"
            " models.yaml."
        )
    return tuple(notes)


def interval_text(one: Interval | None) -> str:
    """Returns a mean with its interval."""
    return UNKNOWN if one is None else f"{one.mean:.2f} [{one.low:.2f}, {one.high:.2f}]"


def _choices(found: Findings) -> Iterator[Table]:
    rows = []
    for one in found.choices:
        cell = found.cells.get((one.task, one.model))
        figures = (UNKNOWN, UNKNOWN, UNKNOWN)
        if cell is not None:
            figures = (
                interval_text(cell.quality),
                percent(one.confidence),
                _cost(cell.cost_nano_usd),
            )
        rows.append((one.task, one.model or "none", one.tier or UNKNOWN, *figures))
    yield Table(
        id="choices",
        title="What to use for each task",
        headings=("task", "cheapest that clears the bar", "tier", "quality", "confidence", _COST),
        rows=tuple(rows),
        word_columns=3,
        notes=tuple(f"{one.task}: {one.reason}." for one in found.choices if one.reason),
    )


def _matrix(found: Findings) -> Iterator[Table]:
    yield Table(
        id="matrix",
        title="Quality by model and task",
        headings=("model", *found.tasks, "all tasks"),
        rows=tuple(
            (
                model,
                *(_quality(found.cells[task, model]) for task in found.tasks),
                interval_text(found.overall.get(model)),
            )
            for model in found.models
        ),
        notes=(
            ("* fewer than nine in ten samples have a score: not enough to choose the model.",)
            if any(not one.is_complete for one in found.cells.values())
            else ()
        ),
    )


def _quality(cell: Cell) -> str:
    return interval_text(cell.quality) + ("" if cell.is_complete else " *")


def _policies(found: Findings) -> Iterator[Table]:
    if not found.policies:
        return
    dearest = max(one.cost_nano_usd for one in found.policies)
    yield Table(
        id="policies",
        title="What routing by task could save",
        headings=("", "quality", _COST, "of the dearest"),
        rows=tuple(
            (
                one.name,
                interval_text(one.quality),
                _cost(one.cost_nano_usd),
                percent(one.cost_nano_usd / dearest if dearest else None),
            )
            for one in found.policies
        ),
        notes=(
            "Over the samples that all complete models have a score for. The choices were made on"
            " these same samples, so expect a little less of them; a task without one counts with"
            " its best model. The oracle knows each answer beforehand: no router reaches it.",
        ),
    )


def _dominated(found: Findings) -> Iterator[Table]:
    if not found.dominated:
        return
    yield Table(
        id="dominated",
        title="Models that are dearer and not better",
        headings=("model", "than", "better on", "quality gained", "times the cost", "surely"),
        rows=tuple(
            (
                one.model,
                one.by,
                ", ".join(one.better_tasks) or "no task",
                f"{one.gain.mean:+.2f} [{one.gain.low:+.2f}, {one.gain.high:+.2f}]",
                f"{one.cost_ratio:.1f}",
                "yes" if one.gain.high <= 0 else "not yet",
            )
            for one in found.dominated
        ),
        word_columns=3,
        notes=(
            "Surely: the whole interval of the difference, sample by sample, is 0 or below. Where"
            " it is not, more samples may show the model to be worth its price.",
        ),
    )


def _measures(found: Findings) -> Iterator[Table]:
    rows = []
    for task in found.tasks:
        for model in found.models:
            cell = found.cells[task, model]
            rows.append(
                (
                    task,
                    model,
                    f"{cell.scored}/{cell.samples}",
                    count(cell.refused),
                    count(cell.failed),
                    count(cell.cut),
                    percent(cell.clears),
                    _cost(cell.cost_nano_usd),
                    _seconds(cell.latency_p50_s),
                    _seconds(cell.latency_p90_s),
                )
            )
    yield Table(
        id="measures",
        title="Cost, latency and failures",
        headings=(
            "task",
            "model",
            "scored",
            "refused",
            "failed",
            "cut",
            "clears",
            _COST,
            "p50",
            "p90",
        ),
        rows=tuple(rows),
        word_columns=2,
        notes=tuple(_measure_notes(found)),
    )


def _measure_notes(found: Findings) -> Iterator[str]:
    cells = found.cells.values()
    if any(one.refused for one in cells):
        yield "A refusal for reasons of content is an answer of quality 0."
    if any(one.failed for one in cells):
        yield "Failed calls have no quality; run the command again to repeat them."
    if any(one.cut for one in cells):
        yield "Answers that were cut reached --max-output-tokens, and were scored as they came."
    for model in found.models:
        served = sorted({name for one in cells if one.model == model for name in one.served})
        if len(served) > 1:
            yield f"{model} was answered by several models: {', '.join(served)}."


def _judge(found: Findings) -> Iterator[Table]:
    record = found.judged
    if not record.asked:
        return
    contradicted = record.contradicted / record.pairs if record.pairs else None
    nonsense = record.nonsense / record.asked
    notes = []
    if contradicted is not None and contradicted > _CONTRADICTIONS_ALERT:
        notes.append("The judge goes by the place of an answer too often: take another one.")
    if nonsense > _NONSENSE_ALERT:
        notes.append("The judge's answers can't be read too often: take another one.")
    if found.judge in found.models:
        notes.append(f"{found.judge} judged its own answers too, and may prefer them.")
    yield Table(
        id="judge",
        title=f"The judge, {found.judge}",
        headings=("", "number", "share", ""),
        rows=(
            ("questions", count(record.asked), "", ""),
            ("pairs asked in both orders", count(record.pairs), "", ""),
            (
                "verdict changed with the place, so a tie",
                count(record.contradicted),
                percent(contradicted),
                ALERT if (contradicted or 0) > _CONTRADICTIONS_ALERT else "",
            ),
            (
                "no verdict to be read, so no score",
                count(record.nonsense),
                percent(nonsense),
                ALERT if nonsense > _NONSENSE_ALERT else "",
            ),
            ("calls that failed", count(record.failed), percent(record.failed / record.asked), ""),
        ),
        notes=tuple(notes),
    )


def _cost(nano_usd: float | None) -> str:
    if nano_usd is None:
        return UNKNOWN
    thousand = round(nano_usd * _PER_CALLS)
    return usd(thousand, min(4, places_for(thousand)))


def _seconds(seconds: float | None) -> str:
    return duration(None if seconds is None else round(seconds * 1_000_000))


def _plural(number: int, noun: str) -> str:
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"
