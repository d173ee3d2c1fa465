"""Measures whether what `tierwise bench` concludes from few samples holds on all prompts of a task.

Samples are drawn, with repetition, from public outcomes; what is true is the mean over the task. A
95 % interval has to hold it in at least 93 % of the draws. Of the models that are chosen with a
confidence of 0.9, at most one in ten may in truth be below the bar. Beside it stand the plain
bootstrap's interval, and taking the cheapest model whose mean reaches the bar.

    python tests/benchmarks/bench_choices.py EVAL_DATA
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from harness import Bar, progress, report, rounded, run_program

from tierwise_server.benching.findings import DEFAULT_CONFIDENCE, find
from tierwise_server.benching.models import BenchModel
from tierwise_server.benching.resampling import Floats, interval, means, weights
from tierwise_server.benching.run_file import AnswerRow, RunState
from tierwise_server.benching.running import BenchPlan
from tierwise_server.benching.samples import Sample
from tierwise_server.catalog.ids import Location, ModelId, TaskId, TierId
from tierwise_server.catalog.registry import Model, PriceSource, RateLimits

COUNTS = (10, 20, 50)
BARS = (0.6, 0.7, 0.8, 0.85, 0.9)
DRAWS = 24
SEED = 20261128
LEAST_COVERAGE = 0.93


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """What all models made of all prompts of a task: a row for each model."""

    task: str
    models: tuple[str, ...]
    quality: Floats
    cost_usd: Floats | None


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", type=Path, help="folder of public data")
    folder = parser.parse_args(argv).data / "outcomes"
    priced = list(read(folder / "routerbench_train.jsonl"))
    tasks = [*priced, *read(folder / "llmrouter_train.jsonl")]
    dice = np.random.default_rng(SEED)
    bars: list[Bar] = []
    figures: dict[str, object] = {}
    for count in COUNTS:
        progress(f"{count} samples ...")
        held, plain = coverage(tasks, count, dice)
        chosen, wrong, naive, naive_wrong = choices(priced, count, dice)
        bars += [
            Bar(name=f"interval holds, {count}", value=held, limit=LEAST_COVERAGE, at_least=True),
            Bar(
                name=f"chosen and below the bar, {count}",
                value=wrong / max(chosen, 1),
                limit=1 - DEFAULT_CONFIDENCE,
            ),
        ]
        figures[f"{count} samples"] = {
            "plain bootstrap's interval holds": rounded(plain),
            "chosen": chosen,
            "chosen and below the bar": wrong,
            "chosen by mean alone": naive,
            "chosen by mean alone and below the bar": rounded(naive_wrong / max(naive, 1)),
        }
    report(bars, figures)
    return 0


def read(path: Path) -> Iterator[Outcomes]:
    """Yields the tasks of a file, those models left out that did not answer all prompts."""
    groups: dict[str, list[Mapping[str, Mapping[str, float]]]] = {}
    for line in path.read_bytes().splitlines():
        row = json.loads(line)
        groups.setdefault(row["group"], []).append(row)
    for task, rows in sorted(groups.items()):
        models = tuple(sorted(set.intersection(*(set(row["quality"]) for row in rows))))
        costs = None
        if all("cost_usd" in row for row in rows):
            costs = np.array([[row["cost_usd"][model] for row in rows] for model in models])
        quality = np.array([[row["quality"][model] for row in rows] for model in models])
        yield Outcomes(task=task, models=models, quality=quality.clip(0, 1), cost_usd=costs)


def coverage(
    tasks: Sequence[Outcomes], count: int, dice: np.random.Generator
) -> tuple[float, float]:
    """Returns how often our interval holds the true mean, and how often the plain bootstrap's."""
    held, plain = [], []
    for one in tasks:
        true = one.quality.mean(axis=1)
        for draw in range(DRAWS // 2):
            drawn = one.quality[:, dice.integers(0, one.quality.shape[1], count)]
            weighting = weights(count, one.task, draw)
            again = dice.integers(0, count, (1000, count))
            for scores, mean in zip(drawn, true, strict=True):
                found = interval(float(scores.mean()), means(weighting, scores))
                held.append(found.low <= mean <= found.high)
                low, high = np.quantile(scores[again].mean(axis=1), (0.025, 0.975))
                plain.append(low <= mean <= high)
    return float(np.mean(held)), float(np.mean(plain))


def choices(
    tasks: Sequence[Outcomes], count: int, dice: np.random.Generator
) -> tuple[int, int, int, int]:
    """Returns how many models were chosen, and how many of them wrongly; then by mean alone."""
    chosen = wrong = naive = naive_wrong = 0
    for one in tasks:
        assert one.cost_usd is not None
        true = dict(zip(one.models, one.quality.mean(axis=1), strict=True))
        for draw in range(DRAWS):
            picked = dice.integers(0, one.quality.shape[1], count)
            plan, state, quality_of = as_run(one, picked)
            cheapest = [
                one.models[place] for place in one.cost_usd[:, picked].mean(axis=1).argsort()
            ]
            for bar in BARS:
                found = find(
                    plan,
                    state,
                    quality_of,
                    bar=bar,
                    confidence=DEFAULT_CONFIDENCE,
                    seed=draw,
                    given_up={},
                    is_stopped=False,
                )
                model = found.choices[0].model
                if model:
                    chosen += 1
                    wrong += bool(true[model] < bar)
                overall = found.overall
                first = next((name for name in cheapest if overall[name].mean >= bar), None)
                if first is not None:
                    naive += 1
                    naive_wrong += bool(true[first] < bar)
    return chosen, wrong, naive, naive_wrong


def as_run(
    outcomes: Outcomes, picked: np.ndarray[tuple[int, ...], np.dtype[np.int64]]
) -> tuple[BenchPlan, RunState, dict[tuple[str, str], float]]:
    """Returns drawn outcomes as a run that is over."""
    task = TaskId("task")
    samples = tuple(
        Sample(
            id=str(number),
            task=task,
            prompt="",
            system="",
            references=(),
            rubric="",
            checks=(),
            max_output_tokens=None,
            digest="",
            location=Location(file="", line=1),
        )
        for number in range(len(picked))
    )
    state, quality_of = RunState(), {}
    assert outcomes.cost_usd is not None
    for place, name in enumerate(outcomes.models):
        for number, column in enumerate(picked):
            key = str(number), name
            quality_of[key] = float(outcomes.quality[place, column])
            state.answers[key] = AnswerRow(
                sample=key[0],
                model=name,
                time="",
                text="",
                cost_nano_usd=round(outcomes.cost_usd[place, column] * 1e9),
            )
    plan = BenchPlan(
        samples=samples,
        models=tuple(map(as_model, outcomes.models)),
        max_output_tokens=1,
        concurrency=1,
    )
    return plan, state, quality_of


def as_model(name: str) -> BenchModel:
    """Returns a model of which nothing but the name matters here."""
    registered = Model(
        id=ModelId(name),
        provider="openai",
        name=name,
        tier=TierId("one"),
        price_source=PriceSource.UNKNOWN,
        price=None,
        context_window=1,
        max_output_tokens=1,
        capabilities=frozenset(),
        quality=None,
        limits=RateLimits(),
        labels={},
        base_url=None,
        weight=None,
        token_family=None,
        location=Location(file="", line=1),
    )
    return BenchModel(registered=registered, tier_rank=0, price=None)


if __name__ == "__main__":
    run_program(main)
