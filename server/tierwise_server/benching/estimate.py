"""What a run will cost, before it starts: what is likely, and the most that it can be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tierwise_server.benching.calling import CallText
from tierwise_server.benching.judging import orders
from tierwise_server.benching.models import BenchModel
from tierwise_server.benching.run_file import RunFile
from tierwise_server.benching.running import BenchPlan, judge_text, open_answers, open_judgements

_LIKELY_OUTPUT_TOKENS: Final = 250
"""Of an answer without a reference to go by."""

_JUDGE_LIKELY_TOKENS: Final = 80
_CHARACTERS_PER_TOKEN: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Calls of one model, and what they cost."""

    model: str
    role: str
    """`measured` or `judge`."""
    calls: int
    likely_nano_usd: int | None
    """None when the price is unknown."""
    most_nano_usd: int | None
    """Of one attempt a call."""


def estimates(plan: BenchPlan, run: RunFile) -> tuple[Estimate, ...]:
    """Returns the estimate of each model's calls that are still to be made, then of the judge's."""
    measured: dict[str, list[tuple[CallText, int]]] = {}
    for sample, model in open_answers(plan, run):
        likely = _LIKELY_OUTPUT_TOKENS
        if sample.references:
            likely = max(map(len, sample.references)) // _CHARACTERS_PER_TOKEN + 10
        measured.setdefault(model.id, []).append((plan.text(sample, model), likely))
    found = [
        _estimate(model, "measured", measured[model.id])
        for model in plan.models
        if model.id in measured
    ]
    if plan.judge is not None and (asked := list(_judge_texts(plan, plan.judge, run))):
        found.append(_estimate(plan.judge, "judge", asked))
    return tuple(found)


def _judge_texts(
    plan: BenchPlan, judge: BenchModel, run: RunFile
) -> Iterator[tuple[CallText, int]]:
    """Yields what the judge will be asked; for answers to come, of ones as long as the reference.

    Those that are there and wait for the baseline's answer are not counted until that is there too.
    """
    for sample, row, other, order in open_judgements(plan, run):
        yield judge_text(judge, sample, row.text or "", other, order), _JUDGE_LIKELY_TOKENS
    for sample, model in open_answers(plan, run):
        own_baseline = not sample.references and model.id == plan.baseline
        if own_baseline or not plan.judged(sample):
            continue
        stand_in = sample.references[0] if sample.references else "x" * 4 * _LIKELY_OUTPUT_TOKENS
        other = stand_in if sample.references or plan.baseline else None
        for order in orders(other):
            yield judge_text(judge, sample, stand_in, other, order), _JUDGE_LIKELY_TOKENS


def _estimate(model: BenchModel, role: str, texts: list[tuple[CallText, int]]) -> Estimate:
    likely = most = None
    if model.price is not None:
        likely = sum(
            model.price.cost(
                model.expected_input_tokens(text.whole), min(output, text.max_output_tokens)
            )
            for text, output in texts
        )
        most = sum(model.most(text.whole, text.max_output_tokens) for text, _ in texts)
    return Estimate(
        model=model.id, role=role, calls=len(texts), likely_nano_usd=likely, most_nano_usd=most
    )
