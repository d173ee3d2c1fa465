"""Measures what `tierwise suggest` adds to tasks that have too few utterances, on CLINC150.

Ten tasks, drawn by a fixed seed, are cut to two utterances; the 140 others keep their ten. 200
logged prompts, twenty of each of the ten, come from training rows that are no utterance. They carry
the task that an operator, or whoever judged the answer, says is right: without such a label a
logged prompt of a task that is there is never proposed. At most five are added to each task, chosen
on validation rows alone (five of each task, as an operator's cases). All proposals are accepted, so
no person's care is in the figures. Accuracy is that of the task over test rows.

At the end the edited files are served, and one edit more is timed until a decision shows it.

    python tests/benchmarks/suggestions.py <eval-data folder> [--utterances 10] [--skip-live]
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import grpc
import numpy as np
from harness import (
    Bar,
    BenchmarkError,
    SyncCaller,
    encoder_folder,
    progress,
    read_decision,
    report,
    rounded,
    route_request,
    run_program,
    serving,
)
from numpy.typing import NDArray

from tierwise_server.catalog.loader import parse_catalog, read_catalog_files
from tierwise_server.catalog.model import Catalog
from tierwise_server.encoder.onnx_encoder import OnnxEncoder
from tierwise_server.encoder.utterance_store import UtteranceEmbedder, UtteranceStore
from tierwise_server.scoring import Scorer, phrases_of
from tierwise_server.suggesting.case_bench import Addition, CaseBench
from tierwise_server.suggesting.edits import edited, write
from tierwise_server.suggesting.logged import read_logged
from tierwise_server.suggesting.propose import Limits, Proposing

SEED = 20261128
CUT_TASKS = 10
LEFT = 2
LOGGED_EACH = 20
ADDED_EACH = 5
CASES_EACH = 5
LIVE_TIMEOUT_S = 60.0
LIVE_TEXT = "an utterance that was added while the server runs"

Rows = Mapping[str, list[str]]


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("eval_data", type=Path, help="folder of public data")
    parser.add_argument("--utterances", type=int, default=10, help="of each uncut task")
    parser.add_argument("--skip-live", action="store_true", help="leave the server out")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        return measure(arguments, Path(folder))


def measure(arguments: argparse.Namespace, folder: Path) -> int:
    """Measures in a folder that is left behind."""
    splits = read_splits(arguments.eval_data / "intents" / "clinc150_full.jsonl")
    dice = random.Random(SEED)  # noqa: S311 - repeatable, not secret
    cut = sorted(dice.sample(sorted(splits["train"]), CUT_TASKS))
    shuffled = {task: dice.sample(rows, len(rows)) for task, rows in splits["train"].items()}
    utterances = {
        task: rows[: LEFT if task in cut else arguments.utterances]
        for task, rows in shuffled.items()
    }
    catalog_folder = folder / "catalog"
    write_files(catalog_folder, utterances, splits["val"])
    log = folder / "log.jsonl"
    rows = [{"text": text, "label": task} for task in cut for text in shuffled[task][-LOGGED_EACH:]]
    log.write_text("\n".join(json.dumps(row) for row in rows))

    encoder = OnnxEncoder.load(encoder_folder())
    store = encoder_folder().parent / "benchmarks"
    embed = {
        name: UtteranceEmbedder(
            UtteranceStore(store / f"suggestions-{name}", encoder.encoder_id), encoder, threads=2
        ).embed
        for name in ("utterances", "cases", "logged", "test")
    }
    tests = [(text, task) for task, texts in splits["test"].items() for text in texts]
    progress("embedding ...")
    test_vectors = embed["test"]([text for text, _ in tests])

    files = read_catalog_files(catalog_folder)
    catalog = parse_catalog(files)
    bench = CaseBench(catalog, embed["utterances"], embed["cases"])
    before = accuracies(catalog, bench.scorer, tests, test_vectors)
    logged = list({one.text: one for one in read_logged(log, catalog)}.values())
    texts = [one.text for one in logged]
    for text, vector in zip(texts, embed["logged"](texts), strict=True):
        bench.know(text, vector)
    progress("choosing ...")
    started = time.process_time()
    limits = Limits(utterances=CUT_TASKS * ADDED_EACH, per_task=ADDED_EACH, new_tasks=0)
    additions = []
    for one in Proposing(bench, logged, limits).proposals():
        additions += one.additions
        progress(f"{len(additions)} {one.additions[0].task}: net {one.effect.net}")
    chosen_s = time.process_time() - started
    write(catalog_folder, files, edited(files, additions))

    after_catalog = parse_catalog(read_catalog_files(catalog_folder))
    after_bench = CaseBench(after_catalog, embed["utterances"], embed["cases"])
    after = accuracies(after_catalog, after_bench.scorer, tests, test_vectors)
    falls = {task: before[task] - after[task] for task in before if task not in cut}
    bars = [
        Bar(
            name="median accuracy of the cut tasks",
            value=statistics.median(after[task] for task in cut),
            limit=0.9,
            at_least=True,
        ),
        Bar(
            name="median accuracy before",
            value=statistics.median(before[task] for task in cut),
            limit=0.8,
        ),
        Bar(name="largest fall of another task", value=max(falls.values()), limit=0.01),
    ]
    if not arguments.skip_live:
        bars.append(Bar(name="edit until live, s", value=seconds_to_live(catalog_folder), limit=1))
    report(
        bars,
        {
            "added": len(additions),
            "cut_tasks": {task: [rounded(before[task]), rounded(after[task])] for task in cut},
            "mean_of_others": [
                rounded(statistics.mean(one[task] for task in falls)) for one in (before, after)
            ],
            "others_that_fall_by_more_than_a_point": sum(one > 0.01 for one in falls.values()),
            "others_that_rise_by_more_than_a_point": sum(one < -0.01 for one in falls.values()),
            "choosing_cpu_s": rounded(chosen_s),
        },
    )
    return 0


def read_splits(file: Path) -> Mapping[str, Rows]:
    """Returns the in-scope texts by split and task."""
    splits: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["label"] != "oos":
            splits[row["split"]][row["label"].replace("_", "-")].append(row["text"])
    return splits


def write_files(folder: Path, utterances: Rows, cases: Rows) -> None:
    """Writes a catalog of one tier, in which every prompt matches."""
    (folder / "tiers").mkdir(parents=True)
    (folder / "cases").mkdir()
    (folder / "catalog.yaml").write_text("tiers: [only]\ndefault_tier: only\nthreshold: -1\n")
    lines = ["tier: only", "tasks:"]
    taken: set[str] = set()
    for task, texts in utterances.items():
        lines += [
            f"  {json.dumps(task)}:",
            f"    description: {json.dumps(task)}",
            "    utterances:",
        ]
        own = [text for text in dict.fromkeys(texts) if text.casefold() not in taken]
        taken |= {text.casefold() for text in own}
        lines += [f"      - {json.dumps(text)}" for text in own]
    (folder / "tiers" / "only.yaml").write_text("\n".join(lines) + "\n")
    rows = []
    for task, texts in cases.items():
        own = [text for text in dict.fromkeys(texts) if text.casefold() not in taken]
        taken |= {text.casefold() for text in own}
        rows += [
            f"- {{prompt: {json.dumps(text)}, tier: only, task: {json.dumps(task)}}}"
            for text in own[:CASES_EACH]
        ]
    (folder / "cases" / "val.yaml").write_text("\n".join(rows) + "\n")


def accuracies(
    catalog: Catalog,
    scorer: Scorer,
    tests: Sequence[tuple[str, str]],
    vectors: NDArray[np.float32],
) -> Mapping[str, float]:
    """Returns the share of each task's test rows that score highest for it."""
    right: dict[str, list[bool]] = defaultdict(list)
    for (text, task), vector in zip(tests, vectors, strict=True):
        best = int(scorer.score(vector, phrases_of(text)).task_scores.argmax())
        right[task].append(catalog.tasks[best].id == task)
    return {task: statistics.mean(hits) for task, hits in right.items()}


def seconds_to_live(folder: Path) -> float:
    """Returns the time from an edit of the files until a server decides by it."""
    with (
        serving(catalog=folder) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        caller, request = SyncCaller(channel), route_request(LIVE_TEXT)
        files = read_catalog_files(folder)
        catalog = parse_catalog(files)
        target = catalog.tasks[0]
        added = [Addition(text=LIVE_TEXT, task=target.id, tier=target.tier)]
        changed = edited(files, added)
        started = time.perf_counter()
        write(folder, files, changed)
        while time.perf_counter() - started < LIVE_TIMEOUT_S:
            answer, _ = caller.timed(request)
            if read_decision(answer).similarity > 0.99:
                return time.perf_counter() - started
            time.sleep(0.01)
    raise BenchmarkError("the edit did not go live")


if __name__ == "__main__":
    run_program(main)
