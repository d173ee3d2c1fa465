"""Measures the learned layer on recorded outcomes of models.

    python tests/benchmarks/learned.py <eval-data folder> <encoder folder> --cache <folder>

The predictor is the service's own, fitted and asked as the service does. The score of "learned" is
the quality bar at which the service leaves the cheaper tier, so its curve is what moving the bar
or the dial gives; that of "expected_gain" ignores intervals. Folds keep equal prompts together.
Figures of the formula were chosen on training rows. Intervals are 95 % bootstrap intervals over
test prompts, of differences paired. APGR of a random router, which is the cost-matched shuffle at
every share of calls, is 0.5.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from harness import Bar, progress, report, rounded, run_program
from outcome_data import (
    Floats,
    Outcomes,
    Rows,
    apgr,
    calls_for,
    expected_gain,
    group_gain,
    interval,
    learned_from,
    needed_bar,
    predicted,
    read_outcomes,
)
from routerbench_outcomes import measure_routerbench

from tierwise_server.encoder.onnx_encoder import OnnxEncoder
from tierwise_server.learning import PredictorParameters, fit_predictor

WEAK, STRONG = "mixtral-8x7b-instruct", "gpt-4-1106-preview"
FOLDS = 5
LABELS = 1_500
SEEDS = 5
BOOTSTRAP_ROUNDS = 300
SERVED_ROWS = 10_000
TIMED_CALLS = 500

Split = tuple[Rows, Rows, Mapping[str, Floats]]
"""Training prompts, test prompts, and scores of the test prompts by router."""


def scored(data: Outcomes, train: Rows, test: Rows) -> Split:
    """Fits the predictor to training prompts and scores test prompts by it and by baselines."""
    predictions = predicted(data, learned_from(data, train, (0, 1)), test)
    gain = data.quality[:, 1] - data.quality[:, 0]
    scores = {
        "learned": np.array(list(map(needed_bar, predictions))),
        "expected_gain": np.array(list(map(expected_gain, predictions))),
        "prompt_length": data.lengths[test],
        "group_alone": group_gain(data, gain, train, test),
        "random": np.random.default_rng(1).random(len(test)),
        "oracle": gain[test],
    }
    return train, test, scores


def pooled(data: Outcomes, splits: Sequence[Split]) -> Split:
    """Returns folds as one set of test prompts, each scored without itself."""
    test = np.concatenate([one[1] for one in splits])
    scores = {name: np.concatenate([one[2][name] for one in splits]) for name in splits[0][2]}
    return np.arange(len(data)), test, scores


def figures(data: Outcomes, splits: Sequence[Split]) -> dict[str, object]:
    """Returns APGR of each router, averaged over splits, with intervals and differences."""
    weak, strong = data.quality.T

    def apgrs(name: str, keep: Sequence[Rows]) -> float:
        return float(
            np.mean(
                [
                    apgr(weak[test[rows]], strong[test[rows]], scores[name][rows])
                    for (_, test, scores), rows in zip(splits, keep, strict=True)
                ]
            )
        )

    whole = [np.arange(len(test)) for _, test, _ in splits]
    chance = np.random.default_rng(0)
    names = list(splits[0][2])
    drawn: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(BOOTSTRAP_ROUNDS):
        # The same prompts for every router and split.
        times = np.bincount(chance.integers(0, len(data), len(data)), minlength=len(data))
        keep = [np.repeat(np.arange(len(test)), times[test]) for _, test, _ in splits]
        for name in names:
            drawn[name].append(apgrs(name, keep))
    _, test, scores = splits[0]
    result: dict[str, object] = {
        name: {
            "apgr": round(apgrs(name, whole), 4),
            "interval": interval(drawn[name]),
            "cpt50": rounded(calls_for(weak[test], strong[test], scores[name], 0.5)),
            "cpt80": rounded(calls_for(weak[test], strong[test], scores[name], 0.8)),
        }
        for name in names
    }
    for other in ("prompt_length", "group_alone", "random"):
        differences = np.array(drawn["learned"]) - np.array(drawn[other])
        result[f"learned_minus_{other}"] = {
            "difference": round(apgrs("learned", whole) - apgrs(other, whole), 4),
            "interval": interval(differences.tolist()),
        }
    return result


def cross_validated(data: Outcomes) -> dict[str, object]:
    """Returns the figures of five folds."""
    fold = data.folds(FOLDS)
    splits = [
        scored(data, np.flatnonzero(fold != one), np.flatnonzero(fold == one))
        for one in range(FOLDS)
    ]
    return figures(data, [pooled(data, splits)])


def few_labels(data: Outcomes) -> dict[str, object]:
    """Returns the figures with few labels, over several draws of them."""
    splits = []
    for seed in range(SEEDS):
        order = np.random.default_rng(seed).permutation(len(data))
        known = {data.prompts[row] for row in order[:LABELS]}
        test = np.array([row for row in order[LABELS:] if data.prompts[row] not in known])
        splits.append(scored(data, order[:LABELS], test))
    return figures(data, splits)


def honesty(data: Outcomes) -> dict[str, object]:
    """Returns how predictions stand to outcomes: by tenths, and by group against the interval."""
    fold = data.folds(FOLDS)
    train, test = np.flatnonzero(fold != 0), np.flatnonzero(fold == 0)
    predictions = predicted(data, learned_from(data, train, (0, 1)), test)
    kept = [place for place, one in enumerate(predictions) if one]
    result: dict[str, object] = {"answered": rounded(len(kept) / len(test))}
    groups = np.array([data.groups[test[place]] for place in kept])
    for tier, name in enumerate((WEAK, STRONG)):
        quality = np.array([predictions[place][tier].quality for place in kept])
        lower = np.array([predictions[place][tier].lower for place in kept])
        actual = data.quality[test[kept], tier]
        tenth = np.minimum((quality * 10).astype(int), 9)
        error = sum(
            abs(quality[tenth == one].mean() - actual[tenth == one].mean()) * (tenth == one).mean()
            for one in set(tenth.tolist())
        )
        large = [one for one in set(groups.tolist()) if (groups == one).sum() >= 20]
        held = [actual[groups == one].mean() >= lower[groups == one].mean() for one in large]
        off = np.array(
            [actual[groups == one].mean() - quality[groups == one].mean() for one in large]
        )
        noise = np.array([actual[groups == one].var() / (groups == one).sum() for one in large])
        result[name] = {
            "calibration_error": rounded(float(error)),
            # About 1 where the interval is as wide as groups really lie off, sampling noise aside.
            "group_error_by_interval": rounded(
                float(np.sqrt(max((off**2 - noise).mean(), 0.0)) / (quality - lower).mean())
            ),
            "groups_above_lower_bound": rounded(float(np.mean(held))),
            "groups": len(large),
        }
    return result


def timings() -> dict[str, float]:
    """Returns the time of a prediction with 10,000 rows, of two tiers and of all different prompts.

    Ratios to a bare inner product with as many vectors hold on a busy machine; times do not.
    """
    chance = np.random.default_rng(0)
    result: dict[str, float] = {}
    for name, prompts in (("two_tiers", SERVED_ROWS // 2), ("one_label_each", SERVED_ROWS)):
        vectors = chance.normal(size=(prompts, 384)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        quality = chance.random((prompts, 2))
        if name == "one_label_each":
            quality[np.arange(prompts), chance.integers(0, 2, prompts)] = np.nan
        started = time.process_time()
        predictor = fit_predictor(
            vectors, chance.normal(5, 1, prompts), quality, PredictorParameters()
        )
        result[f"{name}_fit_cpu_s"] = rounded(time.process_time() - started)
        times, bare = [], []
        for query in vectors[:TIMED_CALLS]:
            started = time.perf_counter()
            predictor.predict(query, 4.0)
            times.append(time.perf_counter() - started)
            started = time.perf_counter()
            _ = vectors @ query
            bare.append(time.perf_counter() - started)
        result[f"{name}_p50_ms"] = rounded(1e3 * float(np.median(times)))
        result[f"{name}_by_bare_product"] = rounded(float(np.median(times) / np.median(bare)))
    return result


def apgr_of(result: Mapping[str, object], name: str = "learned") -> float:
    """Returns a router's APGR."""
    return float(result[name]["apgr"])  # type: ignore[index]


def least_lead(result: Mapping[str, object]) -> float:
    """Returns the lower end of the interval of the lead over prompt length."""
    return float(result["learned_minus_prompt_length"]["interval"][0])  # type: ignore[index]


def main() -> int:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("data", type=Path, help="folder of the evaluation data")
    parser.add_argument("encoder", type=Path, help="folder of the encoder artifact")
    parser.add_argument("--cache", type=Path, help="folder that keeps vectors between runs")
    arguments = parser.parse_args()
    encoder = OnnxEncoder.load(arguments.encoder)

    def read(name: str, models: Sequence[str] = ()) -> Outcomes:
        progress(f"reading {name}")
        return read_outcomes(arguments.data, name, encoder, arguments.cache, models)

    mmlu = read("mmlu_gpt4_mixtral", (WEAK, STRONG))
    gsm8k = read("gsm8k_gpt4_mixtral", (WEAK, STRONG))
    results: dict[str, object] = {
        "predictor_id": PredictorParameters().predictor_id,
        "encoder_id": encoder.encoder_id,
    }
    five = cross_validated(mmlu)
    few = few_labels(mmlu)
    grade_school = cross_validated(gsm8k)
    speed = timings()
    results |= {
        "mmlu_5_fold": five,
        "mmlu_1500_labels": few,
        "gsm8k_5_fold": grade_school,
        "mmlu_honesty": honesty(mmlu),
        "routerbench_train": measure_routerbench(read("routerbench_train")),
        "timings": speed,
    }
    bars = [
        Bar(name="MMLU, APGR, 5-fold", value=apgr_of(five), limit=0.665, at_least=True),
        Bar(name="MMLU, APGR, 1,500 labels", value=apgr_of(few), limit=0.62, at_least=True),
        Bar(
            name="MMLU, lead over prompt length, 5-fold, lower end of its interval",
            value=least_lead(five),
            limit=0.0,
            at_least=True,
        ),
        Bar(
            name="MMLU, lead over prompt length, 1,500 labels, lower end of its interval",
            value=least_lead(few),
            limit=0.0,
            at_least=True,
        ),
        Bar(name="GSM8K, APGR, 5-fold", value=apgr_of(grade_school), limit=0.61, at_least=True),
        Bar(
            name="prediction with 10,000 rows of two tiers, p50 in ms",
            value=speed["two_tiers_p50_ms"],
            limit=0.3,
        ),
    ]
    report(bars, results)
    return 0


if __name__ == "__main__":
    run_program(main)
