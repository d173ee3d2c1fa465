"""Measures `tierwise calibrate` on CLINC150: thresholds, confidence, and semantic-router beside it.

    python tests/benchmarks/calibration.py <eval-data folder> <encoder folder>

CLINC150 becomes a catalog of 150 tasks in one tier, with 10 and with 100 utterances a task. The
catalog is calibrated on the validation rows by the command, as its user would, and decides the test
rows by the router; nothing is chosen on test rows. semantic-router is fitted on the same validation
rows with the same vectors: its own Platt scaling, and the threshold with the most right answers.

Validation rows are 3 % out of scope, test rows 18 %, as whoever made the set says. So confidences
are fitted twice: as the validation rows are, and with `--out-of-scope-share` stated. Intervals are
95 % bootstrap intervals over test rows.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from harness import REPOSITORY, Bar, BenchmarkError, progress, report, run_program
from numpy.typing import NDArray
from versus_semantic_router import peer_python

from tierwise_server.calibration.reliability import calibration_error, coverage_at
from tierwise_server.calibration.rows import MATCHED_KINDS
from tierwise_server.commands.calibrate import main as calibrate
from tierwise_server.commands.local import open_parts, open_router
from tierwise_server.encoder.onnx_encoder import OnnxEncoder
from tierwise_server.questions import file_questions

OUT_OF_SCOPE = "oos"
TEST_SHARE = 1000 / 5500
"""Out-of-scope share of CLINC150's test rows, by its description."""

SAMPLES = 1000
SEED = 20_240_229
BATCH = 500
PEER_TIMEOUT_S = 1500
SIZES = {10: ("clinc150_fewshot_train", "train_10"), 100: ("clinc150_full", "train")}
BARS = {10: (0.885, 0.59, 0.55), 100: (0.935, 0.60, 0.72)}
"""In-scope accuracy, out-of-scope recall, and coverage at 95 % precision."""

ERROR_BAR = 0.03

Rows = list[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a router made of the test rows."""

    right: NDArray[np.bool_]
    """Whether the task is right; never, where nothing is for the prompt."""
    accepted: NDArray[np.bool_]
    confidence: NDArray[np.float64]
    """Of accepted matches; -1 where there is none."""
    inside: NDArray[np.bool_]


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", type=Path, help="folder of the evaluation data")
    parser.add_argument("encoder", type=Path, help="folder of the encoder artifact")
    parser.add_argument("--peer-venv", type=Path, default=REPOSITORY / ".venv-bench")
    parser.add_argument(
        "--sizes",
        type=int,
        nargs="+",
        choices=list(SIZES),
        default=list(SIZES),
        help="utterances a task",
    )
    parser.add_argument("--without-peer", action="store_true", help="leave semantic-router out")
    arguments = parser.parse_args(argv)
    files = {
        name: read_rows(arguments.data / "intents" / f"{name}.jsonl")
        for name in ("clinc150_full", "clinc150_fewshot_train")
    }
    validation, test = files["clinc150_full"]["val"], files["clinc150_full"]["test"]
    bars: list[Bar] = []
    figures: dict[str, object] = {
        "test_rows": len(test),
        "random_in_scope_accuracy": 1 / 150,
        "always_accept_out_of_scope_recall": 0.0,
    }
    for size in arguments.sizes:
        name, split = SIZES[size]
        training = [row for row in files[name][split] if row[1] != OUT_OF_SCOPE]
        found, met = measure(size, training, validation, test, arguments)
        figures[f"{size}_utterances"] = found
        bars += met
    report(bars, figures)
    return 0


def read_rows(file: Path) -> dict[str, Rows]:
    """Returns the rows of each split, text and label, labels as task ids."""
    splits: dict[str, Rows] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        splits.setdefault(row["split"], []).append((row["text"], row["label"].replace("_", "-")))
    return splits


def measure(
    size: int, training: Rows, validation: Rows, test: Rows, arguments: argparse.Namespace
) -> tuple[dict[str, object], list[Bar]]:
    """Returns figures and bars of one catalog size."""
    with tempfile.TemporaryDirectory(prefix="tierwise-calibration-") as folder:
        catalog, work = Path(folder) / "catalog", Path(folder)
        tasks = write_catalog(catalog, training)
        fitted_on = write_labelled(work / "validation.jsonl", validation)
        asked = write_labelled(work / "test.jsonl", test)
        os.environ["TIERWISE_ENCODER"] = str(arguments.encoder)
        uncalibrated = decide(catalog, asked, test)
        as_it_is = run_calibrate(catalog, fitted_on)
        plain = decide(catalog, asked, test)
        stated = run_calibrate(catalog, fitted_on, "--out-of-scope-share", f"{TEST_SHARE:.6f}")
        weighted = decide(catalog, asked, test)
        progress(f"calibration: {size} utterances a task are decided")
        peers = {}
        if not arguments.without_peer:
            peers = peer_answers(
                arguments.peer_venv,
                work,
                tasks,
                validation,
                test,
                OnnxEncoder.load(arguments.encoder),
            )
    accuracy, recall, coverage = BARS[size]
    ours = thresholded(plain)
    bars = [
        Bar(
            name=f"{size}_in_scope_accuracy", value=mean(plain, "in"), limit=accuracy, at_least=True
        ),
        Bar(
            name=f"{size}_out_of_scope_recall",
            value=mean(plain, "out"),
            limit=recall,
            at_least=True,
        ),
        Bar(name=f"{size}_calibration_error", value=error_of(weighted), limit=ERROR_BAR),
        Bar(
            name=f"{size}_coverage_at_95_precision",
            value=covered(weighted),
            limit=coverage,
            at_least=True,
        ),
    ]
    for aggregation, answers in peers.items():
        for side in ("in", "out"):
            bars.append(
                Bar(
                    name=f"{size}_{side}_over_semantic_router_{aggregation}",
                    value=mean(plain, side),
                    limit=mean(answers, side),
                    at_least=True,
                )
            )
    found: dict[str, object] = {
        "calibrated": {**ours, **confident(plain), "fit": as_it_is},
        "calibrated_with_share_stated": {
            **thresholded(weighted),
            **confident(weighted),
            "fit": stated,
        },
        "default_threshold": thresholded(uncalibrated),
        "semantic_router": {
            name: {**thresholded(answers), **confident(answers)} for name, answers in peers.items()
        },
    }
    if peers:
        found["ahead_of_semantic_router"] = {
            name: paired(plain, answers) for name, answers in peers.items()
        }
    return found, bars


def write_catalog(folder: Path, training: Rows) -> dict[str, list[str]]:
    """Writes the catalog, each utterance once, and returns the utterances by task."""
    tasks: dict[str, list[str]] = {}
    seen: set[str] = set()
    for text, label in training:
        if text.casefold() not in seen:
            seen.add(text.casefold())
            tasks.setdefault(label, []).append(text)
    (folder / "tiers").mkdir(parents=True)
    (folder / "catalog.yaml").write_text("tiers: [mid]\ndefault_tier: mid\n", encoding="utf-8")
    lines = ["tier: mid", "tasks:"]
    for label, texts in tasks.items():
        lines += [f'  "{label}":', "    description: An intent of CLINC150.", "    utterances:"]
        lines += [f"      - {json.dumps(text)}" for text in texts]
    (folder / "tiers" / "mid.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tasks


def write_labelled(file: Path, rows: Rows) -> Path:
    """Writes rows as `calibrate` and `evaluate` read them."""
    lines = [json.dumps({"text": text, "label": label}) + "\n" for text, label in rows]
    file.write_text("".join(lines), encoding="utf-8")
    return file


def run_calibrate(catalog: Path, rows: Path, *words: str) -> dict[str, object]:
    """Calibrates a catalog by the command, and returns what it says of its own fit."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        code = calibrate([str(rows), "--catalog", str(catalog), "--yes", "--json", *words])
    if code != 0:
        raise BenchmarkError(f"calibrate refused: {errors.getvalue()}")
    record = json.loads(output.getvalue())
    validation = record["validation"]
    return {
        "threshold": record["thresholds"]["all"],
        "confidence": record["confidence"],
        "rows": record["row_count"],
        "cross_validated_accuracy": validation["after"]["accuracy"],
        "cross_validated_calibration_error": validation["calibration_error"],
    }


def decide(folder: Path, file: Path, rows: Rows) -> Answers:
    """Returns what the router decides for the test rows."""
    verdicts = []
    with open_parts(str(folder)) as (parts, runner), open_router(parts, runner) as router:
        catalog = next(iter(parts.catalogs.values())).snapshot.catalog
        questions = list(file_questions(file, catalog))
        for start in range(0, len(questions), BATCH):
            queries = [one.query for one in questions[start : start + BATCH]]
            routed = runner.run(router.route_all(queries, path="rows"))
            verdicts += [one.verdict for one in routed]
    labels = [label for _, label in rows]
    return Answers(
        right=np.array(
            [
                one.task is not None and one.task.id == label
                for one, label in zip(verdicts, labels, strict=True)
            ]
        ),
        accepted=np.array([one.kind in MATCHED_KINDS for one in verdicts]),
        confidence=np.array(
            [-1.0 if one.confidence is None else one.confidence for one in verdicts]
        ),
        inside=np.array([label != OUT_OF_SCOPE for label in labels]),
    )


def peer_answers(
    environment: Path,
    work: Path,
    tasks: Mapping[str, Sequence[str]],
    validation: Rows,
    test: Rows,
    encoder: OnnxEncoder,
) -> dict[str, Answers]:
    """Returns what semantic-router makes of the test rows, by aggregation."""
    rows = {
        "routes": tasks,
        "validation": [
            (text, None if label == OUT_OF_SCOPE else label) for text, label in validation
        ],
        "test": [(text, None if label == OUT_OF_SCOPE else label) for text, label in test],
    }
    texts = sorted(
        {text for own in tasks.values() for text in own}
        | {text for text, _ in (*validation, *test)}
    )
    np.savez(work / "vectors.npz", vectors=np.stack([encoder.encode(text) for text in texts]))
    (work / "rows.json").write_text(json.dumps({**rows, "texts": texts}), encoding="utf-8")
    program = Path(__file__).parent / "semantic_router_fitted.py"
    try:
        done = subprocess.run(
            [str(peer_python(environment)), str(program), str(work)],
            check=True,
            capture_output=True,
            text=True,
            timeout=PEER_TIMEOUT_S,
        )
    except (subprocess.SubprocessError, OSError) as error:
        told = getattr(error, "stderr", "") or ""
        raise BenchmarkError(f"semantic-router failed: {error} {told[-1000:]}") from error
    labels = [label for _, label in test]
    answers = {}
    for name, result in json.loads(done.stdout).items():
        confidence = np.array([one[1] for one in result["test"]])
        accepted = confidence >= result["threshold"]
        answers[name] = Answers(
            right=accepted
            & np.array(
                [one[0] == label for one, label in zip(result["test"], labels, strict=True)]
            ),
            accepted=accepted,
            confidence=np.where(accepted, confidence, -1.0),
            inside=np.array([label != OUT_OF_SCOPE for label in labels]),
        )
    return answers


def mean(answers: Answers, side: str) -> float:
    """Returns in-scope accuracy (`in`) or out-of-scope recall (`out`)."""
    if side == "in":
        return float(answers.right[answers.inside].mean())
    return float((~answers.accepted[~answers.inside]).mean())


def error_of(answers: Answers, chosen: NDArray[np.int64] | None = None) -> float:
    """Returns the calibration error of the decisions that carry a confidence."""
    rows = np.arange(len(answers.right)) if chosen is None else chosen
    rows = rows[answers.confidence[rows] >= 0.0]
    return calibration_error(answers.confidence[rows], answers.right[rows]) or 0.0


def covered(answers: Answers, chosen: NDArray[np.int64] | None = None) -> float:
    """Returns the share of all rows that can be decided with 95 % right."""
    rows = np.arange(len(answers.right)) if chosen is None else chosen
    sure = rows[answers.confidence[rows] >= 0.0]
    return coverage_at(answers.confidence[sure], answers.right[sure], 0.95, len(rows))


def thresholded(answers: Answers) -> dict[str, object]:
    """Returns what the threshold does, with intervals."""
    inside, outside = answers.right[answers.inside], ~answers.accepted[~answers.inside]
    return {
        "in_scope_accuracy": float(inside.mean()),
        "in_scope_accuracy_interval": interval(lambda draw: inside[draw(len(inside))].mean()),
        "out_of_scope_recall": float(outside.mean()),
        "out_of_scope_recall_interval": interval(lambda draw: outside[draw(len(outside))].mean()),
    }


def confident(answers: Answers) -> dict[str, object]:
    """Returns what the confidence is worth, with intervals."""
    count = len(answers.right)
    inside = np.flatnonzero(answers.inside)
    return {
        "calibration_error": error_of(answers),
        "calibration_error_interval": interval(lambda draw: error_of(answers, draw(count))),
        "calibration_error_in_scope": error_of(answers, inside),
        "coverage_at_95_precision": covered(answers),
        "coverage_at_95_precision_interval": interval(lambda draw: covered(answers, draw(count))),
    }


def paired(ours: Answers, theirs: Answers) -> dict[str, list[float]]:
    """Returns intervals of the differences, row by row."""
    gained = ours.right[ours.inside].astype(float) - theirs.right[ours.inside]
    kept = (~ours.accepted[~ours.inside]).astype(float) - ~theirs.accepted[~ours.inside]
    return {
        "in_scope_accuracy_interval": interval(lambda draw: gained[draw(len(gained))].mean()),
        "out_of_scope_recall_interval": interval(lambda draw: kept[draw(len(kept))].mean()),
    }


def interval(statistic: Callable[[Callable[[int], NDArray[np.int64]]], Any]) -> list[float]:
    """Returns the 95 % bootstrap interval of a statistic, given a way to draw rows."""
    chance = np.random.default_rng(SEED)
    drawn = [
        float(statistic(lambda count: chance.integers(0, count, count))) for _ in range(SAMPLES)
    ]
    return [round(float(bound), 4) for bound in np.percentile(drawn, (2.5, 97.5))]


if __name__ == "__main__":
    run_program(main)
