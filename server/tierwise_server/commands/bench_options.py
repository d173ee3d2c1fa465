"""The options of `tierwise bench`."""

from __future__ import annotations

import argparse
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final

from tierwise_server.benching.errors import BenchError
from tierwise_server.benching.findings import DEFAULT_BAR, DEFAULT_CONFIDENCE
from tierwise_server.benching.functions import load_function
from tierwise_server.benching.session import Options
from tierwise_server.planning.prices import NANO_USD_PER_USD

DEFAULT_RUN: Final = "bench-run.jsonl"
DEFAULT_CAP_USD: Final = "5"
LIST: Final = "list"
"""In the place of a file of samples: shows the sets that come along."""

FORMATS: Final = ("table", "json", "html")


def bench_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="tierwise bench",
        description="Measures models on sample prompts of each task: quality with intervals, cost"
        " and latency; the cheapest model that clears the bar for each task; models that are"
        " dearer and not better. Run the same command again to go on after a stop.",
        allow_abbrev=False,
    )
    parser.add_argument("--catalog", default="utterances", help="Folder; default: utterances.")
    parser.add_argument(
        "--samples",
        nargs="+",
        required=True,
        metavar="FILE",
        help="Samples as YAML or JSONL, or names of sets that come along; FILE=TASK makes them"
        f" samples of that task. `--samples {LIST}` shows the sets.",
    )
    parser.add_argument("--tasks", nargs="+", default=(), metavar="TASK", help="Only these.")
    parser.add_argument(
        "--models", nargs="+", default=(), metavar="MODEL", help="Default: all of the catalog."
    )
    parser.add_argument(
        "--judge", default="", metavar="MODEL", help="Model of the catalog that goes by rubrics."
    )
    parser.add_argument(
        "--no-judge", action="store_true", help="Score samples with a rubric by their checks."
    )
    parser.add_argument(
        "--baseline",
        default="",
        metavar="MODEL",
        help="Measured model whose answers the judge compares with, where there is no reference.",
    )
    parser.add_argument(
        "--function",
        action="append",
        default=[],
        metavar="[TASK=]MODULE:FUNCTION",
        help="Python function that scores answers, of a sample and a text; 0 to 1, or a boolean.",
    )
    parser.add_argument(
        "--run",
        type=Path,
        default=Path(DEFAULT_RUN),
        metavar="FILE",
        help=f"Where answers are kept, with their text; default: {DEFAULT_RUN}. A run that is"
        " there goes on.",
    )
    parser.add_argument(
        "--max-cost",
        default=DEFAULT_CAP_USD,
        metavar="USD",
        help=f"Cap on the whole run, or `none`; default: {DEFAULT_CAP_USD}.",
    )
    parser.add_argument("--yes", action="store_true", help="Start without asking.")
    parser.add_argument(
        "--concurrency",
        type=_whole,
        default=4,
        metavar="N",
        help="Calls of one model at a time; default: 4.",
    )
    parser.add_argument(
        "--max-output-tokens",
        type=_whole,
        default=1024,
        metavar="N",
        help="Of samples that say nothing; default: 1024. Reasoning counts.",
    )
    parser.add_argument(
        "--temperature", type=float, metavar="T", help="Default: each provider's own."
    )
    parser.add_argument(
        "--bar",
        type=_share,
        default=DEFAULT_BAR,
        metavar="Q",
        help=f"Mean quality that is good enough; default: {DEFAULT_BAR}.",
    )
    parser.add_argument(
        "--confidence",
        type=_share,
        default=DEFAULT_CONFIDENCE,
        metavar="SHARE",
        help=f"How sure a model must be to clear it; default: {DEFAULT_CONFIDENCE}.",
    )
    parser.add_argument("--seed", type=int, default=0, help="Of the resampling; default: 0.")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="Default: by the ending of the file, else `table`.",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="Default: standard output.")
    parser.add_argument(
        "--evidence",
        type=Path,
        metavar="FILE",
        help="Add a row of evidence for each sample and model to this JSONL file.",
    )
    parser.add_argument(
        "--propose",
        action="store_true",
        help="Show what the result would change in the catalog's files, as a diff.",
    )
    parser.add_argument("--apply", action="store_true", help="As --propose, and change the files.")
    return parser


def bench_options(arguments: argparse.Namespace) -> Options:
    """Returns what the command line asks for.

    Raises:
        BenchError: An amount is none, or a function is not there.
    """
    return Options(
        samples=arguments.samples,
        tasks=arguments.tasks,
        models=arguments.models,
        judge=arguments.judge,
        use_judge=not arguments.no_judge,
        baseline=arguments.baseline,
        functions=tuple(map(load_function, arguments.function)),
        max_output_tokens=arguments.max_output_tokens,
        temperature=arguments.temperature,
        concurrency=arguments.concurrency,
        cap_nano_usd=_cap(arguments.max_cost),
        seed=arguments.seed,
    )


def _cap(given: str) -> int | None:
    if given == "none":
        return None
    try:
        amount = Decimal(given)
    except InvalidOperation:
        amount = Decimal(-1)
    if not amount.is_finite() or amount < 0:
        raise BenchError(f"--max-cost takes US dollars as 2.50, or `none`, not {given!r}")
    return int(amount * NANO_USD_PER_USD)


def _whole(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _share(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError("must be from 0 to 1")
    return number
