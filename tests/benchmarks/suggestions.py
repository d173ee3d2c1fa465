"""Measures what `tierwise suggest` adds to tasks that have too few utterances, on CLINC150.

Ten tasks, drawn by a seed, are cut to two utterances; the 140 others keep theirs. 200 logged
prompts, twenty of each of the ten, come from training rows that are no utterance. They carry the
task that an operator, or whoever judged the answer, says is right: without such a label a logged
prompt of a task that is there is never proposed. At most five are added to each task, chosen on
validation rows alone (five of each task, as an operator's cases). All proposals are accepted, so no
person's care is in the figures.

Accuracy is the share of rows that score highest for their task, over every row that the product
never saw: all of test, and of validation and training what is no utterance, case or logged prompt.
Of the cut tasks test rows alone count. Of the others, with ten utterances, that makes some 130 rows
a task, of which one is 0.8 points; with a hundred, some 45 are left, and one is 2 points, so that
a fall is told from noise by its paired 95 % interval (bootstrap over rows). Where that needs
several draws, `--seeds` repeats all of it, and medians and falls are over all of them.

The accuracy of the cut tasks before is where the product starts from, better than the 0.8 that it
was expected to; it is no bar.

At the end the edited files are served, and one edit more is timed until a decision shows it.

    python tests/benchmarks/suggestions.py <eval-data> [--utterances 10] [--seeds 3] [--skip-live]
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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

RESAMPLES = 10_000

Rows = Mapping[str, list[str]]
Hits = NDArray[np.bool_]
Embed = Callable[[Sequence[str]], NDArray[np.float32]]


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("eval_data", type=Path, help="folder of public data")
    parser.add_argument("--utterances", type=int, default=10, help="of each uncut task")
    parser.add_argument("--seeds", type=int, default=1, help="how many draws of tasks")
    parser.add_argument("--skip-live", action="store_true", help="leave the server out")
    arguments = parser.parse_args(argv)
    encoder = OnnxEncoder.load(encoder_folder())
    store = encoder_folder().parent / "benchmarks"
    embed = {
        name: UtteranceEmbedder(
            UtteranceStore(store / f"suggestions-{name}", encoder.encoder_id), encoder, threads=2
        ).embed
        for name in ("utterances", "cases", "logged", "unseen")
    }
    splits = read_splits(arguments.eval_data / "intents" / "clinc150_full.jsonl")
    with tempfile.TemporaryDirectory() as folder:
        found = []
        for number in range(arguments.seeds):
            place = Path(folder) / str(number)
            found.append(measure(splits, SEED + number, arguments.utterances, place, embed))
        live = None if arguments.skip_live else seconds_to_live(found[0].folder)
    show(found, live)
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one draw of tasks came to."""

    folder: Path
    """Its catalog, as edited."""
    added: int
    cpu_s: float
    cut: Mapping[str, tuple[float, float]]
    """Accuracy before and after of each task that was cut."""
    others: Mapping[str, tuple[Hits, Hits]]
    """Which rows were right before and after, of each task that was not."""


def measure(
    splits: Mapping[str, Rows], seed: int, count: int, folder: Path, embed: Mapping[str, Embed]
) -> Found:
    """Cuts tasks, accepts what is proposed, and decides rows that had no part in it."""
    dice = random.Random(seed)  # noqa: S311 - repeatable, not secret
    cut = sorted(dice.sample(sorted(splits["train"]), CUT_TASKS))
    shuffled = {task: dice.sample(rows, len(rows)) for task, rows in splits["train"].items()}
    utterances = {task: rows[: LEFT if task in cut else count] for task, rows in shuffled.items()}
    catalog_folder = folder / "catalog"
    write_files(catalog_folder, utterances, splits["val"])
    log = folder / "log.jsonl"
    rows = [{"text": text, "label": task} for task in cut for text in shuffled[task][-LOGGED_EACH:]]
    log.write_text("\n".join(json.dumps(row) for row in rows))
    files = read_catalog_files(catalog_folder)
    catalog = parse_catalog(files)
    seen = {one.text for one in catalog.utterances} | {one.prompt for one in catalog.cases}
    seen |= {row["text"] for row in rows}
    unseen = [
        (text, task)
        for split in ("test", "val", "train")
        for task, texts in splits[split].items()
        for text in texts
        if text not in seen and (split == "test" or task not in cut)
    ]
    progress("embedding ...")
    vectors = embed["unseen"]([text for text, _ in unseen])

    bench = CaseBench(catalog, embed["utterances"], embed["cases"])
    before = right_rows(catalog, bench.scorer, unseen, vectors)
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
    cpu_s = time.process_time() - started
    write(catalog_folder, files, edited(files, additions))

    after_catalog = parse_catalog(read_catalog_files(catalog_folder))
    after_bench = CaseBench(after_catalog, embed["utterances"], embed["cases"])
    after = right_rows(after_catalog, after_bench.scorer, unseen, vectors)
    return Found(
        folder=catalog_folder,
        added=len(additions),
        cpu_s=cpu_s,
        cut={task: (float(before[task].mean()), float(after[task].mean())) for task in cut},
        others={task: (before[task], after[task]) for task in before if task not in cut},
    )


def show(found: Sequence[Found], live: float | None) -> None:
    """Prints all draws as one report."""
    cut = [pair for one in found for pair in one.cut.values()]
    falls = {
        f"{task} ({number})": fall_of(*hits)
        for number, one in enumerate(found)
        for task, hits in one.others.items()
    }
    largest = sorted(falls.items(), key=lambda pair: -pair[1][0])[:5]
    bars = [
        Bar(
            name="median accuracy of the cut tasks",
            value=statistics.median(after for _, after in cut),
            limit=0.9,
            at_least=True,
        ),
        Bar(name="largest fall of another task", value=largest[0][1][0], limit=0.01),
        Bar(
            name="largest fall of another task that is no noise",
            value=max(0.0, *(low for _, low, _ in falls.values())),
            limit=0.01,
        ),
    ]
    if live is not None:
        bars.append(Bar(name="edit until live, s", value=live, limit=1))
    before, after = (
        np.concatenate([hits[side] for one in found for hits in one.others.values()])
        for side in (0, 1)
    )
    mean, low, high = fall_of(before, after)
    report(
        bars,
        {
            "median_accuracy_before": rounded(statistics.median(first for first, _ in cut)),
            "cut_tasks": [
                {task: [rounded(value) for value in pair] for task, pair in one.cut.items()}
                for one in found
            ],
            "added": [one.added for one in found],
            "other_tasks": len(falls),
            "rows_of_another_task": statistics.median(
                len(hits[0]) for one in found for hits in one.others.values()
            ),
            "others_in_the_mean": [rounded(float(before.mean())), rounded(float(after.mean()))],
            "mean_fall_and_interval": [rounded(value) for value in (mean, low, high)],
            "largest_falls_and_intervals": {
                name: [rounded(value) for value in values] for name, values in largest
            },
            "others_that_fall_by_more_than_a_point": sum(
                fall > 0.01 for fall, _, _ in falls.values()
            ),
            "others_that_rise_by_more_than_a_point": sum(
                fall < -0.01 for fall, _, _ in falls.values()
            ),
            "choosing_cpu_s": [rounded(one.cpu_s) for one in found],
        },
    )


def fall_of(before: Hits, after: Hits) -> tuple[float, float, float]:
    """Returns how much less is right, with its paired 95 % bootstrap interval."""
    difference = before.astype(float) - after
    dice = np.random.default_rng(SEED)
    # Rows that change are few; how many of them are drawn is all that matters.
    count = len(difference)
    shares = [float((difference == one).mean()) for one in (1.0, -1.0)]
    drawn = dice.multinomial(count, [*shares, 1.0 - sum(shares)], size=RESAMPLES)
    means = (drawn[:, 0] - drawn[:, 1]) / count
    low, high = np.quantile(means, (0.025, 0.975))
    return float(difference.mean()), float(low), float(high)


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


def right_rows(
    catalog: Catalog,
    scorer: Scorer,
    rows: Sequence[tuple[str, str]],
    vectors: NDArray[np.float32],
) -> Mapping[str, Hits]:
    """Returns of each task which rows score highest for it."""
    right: dict[str, list[bool]] = defaultdict(list)
    for (text, task), vector in zip(rows, vectors, strict=True):
        best = int(scorer.score(vector, phrases_of(text)).task_scores.argmax())
        right[task].append(catalog.tasks[best].id == task)
    return {task: np.array(hits) for task, hits in right.items()}


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
