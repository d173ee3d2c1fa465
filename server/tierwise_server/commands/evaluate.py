"""`tierwise evaluate`: runs held-out cases or a labelled file against a catalog."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from tierwise_server.catalog.model import Catalog
from tierwise_server.commands.local import open_parts, open_router
from tierwise_server.evaluation import Figures, Judgement, figures
from tierwise_server.parts import ServeError
from tierwise_server.questions import (
    LabelledFileError,
    Question,
    case_question,
    file_questions,
    judge,
)
from tierwise_server.routing import Routed


def main(argv: Sequence[str]) -> int:
    """Runs the command and returns its exit status: 1 when the accuracy is below the bar."""
    arguments = _parser().parse_args(argv)
    try:
        with open_parts(arguments.catalog) as (parts, runner), open_router(parts, runner) as router:
            catalog = next(iter(parts.catalogs.values())).snapshot.catalog
            questions = list(_questions(arguments, catalog))
            routed = runner.run(router.route_all([one.query for one in questions], path="cases"))
    except (ServeError, LabelledFileError) as error:
        print(f"tierwise evaluate: {error}", file=sys.stderr)
        return 1
    if not questions:
        print("tierwise evaluate: no cases; add some under cases/ or give a file", file=sys.stderr)
        return 1
    judged = [judge(one, answer.verdict) for one, answer in zip(questions, routed, strict=True)]
    result = figures(judged)
    if arguments.json:
        print(json.dumps({"all": _record(result), "tags": _by_tag(judged)}))
    else:
        _print(result, questions, routed, judged, wrong=arguments.wrong)
    accuracy = result.accuracy or 0.0
    if accuracy < arguments.min_accuracy:
        print(
            f"tierwise evaluate: accuracy {accuracy:.3f} is below {arguments.min_accuracy}",
            file=sys.stderr,
        )
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tierwise evaluate",
        description="Runs a catalog's held-out cases, or a JSONL file of `text` and `label` (a"
        " tier, a task, or `oos`), and prints accuracy, confusion, coverage and out-of-scope"
        " figures.",
    )
    parser.add_argument("file", nargs="?", type=Path, help="JSONL file; default: the cases.")
    parser.add_argument("--catalog", default="utterances", help="Folder; default: utterances.")
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    parser.add_argument("--wrong", action="store_true", help="Show each wrong decision.")
    parser.add_argument(
        "--min-accuracy",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="Exit with 1 below this accuracy.",
    )
    return parser


def _questions(arguments: argparse.Namespace, catalog: Catalog) -> Iterator[Question]:
    if arguments.file is None:
        yield from map(case_question, catalog.cases)
    else:
        yield from file_questions(arguments.file, catalog)


def _print_risks(result: Figures) -> None:
    for point in result.risk_coverage:
        print(
            f"  the most confident {point.coverage:.0%}: confidence from {point.confidence:.3f},"
            f" {point.risk:.3f} wrong (at most {point.risk_bound:.3f})"
        )


def _record(result: Figures) -> dict[str, object]:
    points = [point._asdict() for point in result.risk_coverage]
    return {**asdict(result), "risk_coverage": points}


def _by_tag(judged: Sequence[Judgement]) -> dict[str, dict[str, float | int | None]]:
    tags = sorted({tag for one in judged for tag in one.tags})
    groups = {tag: [one for one in judged if tag in one.tags] for tag in tags}
    return {
        tag: {"count": len(group), "accuracy": figures(group).accuracy}
        for tag, group in groups.items()
    }


def _print(
    result: Figures,
    questions: Sequence[Question],
    routed: Sequence[Routed],
    judged: Sequence[Judgement],
    *,
    wrong: bool,
) -> None:
    if wrong:
        for question, answer, judgement in zip(questions, routed, judged, strict=True):
            if not judgement.right:
                expected = "/".join(filter(None, (question.tier, question.task)))
                print(f"{question.source}: expected {expected}: {question.shown[:100]!r}")
                print(f"    {answer.verdict.tier.id}: {answer.verdict.reason}")
    print(f"{result.count} prompts")
    for name, value in (
        ("accuracy", result.accuracy),
        ("task accuracy", result.task_accuracy),
        ("coverage", result.coverage),
        ("accuracy where matched", result.matched_accuracy),
        ("out-of-scope recall", result.out_of_scope_recall),
        ("out-of-scope AUROC", result.out_of_scope_auroc),
        ("calibration error", result.calibration_error),
        ("coverage at 95 % right", result.coverage_at_95_precision),
    ):
        if value is not None:
            print(f"  {name:<24}{value:.3f}")
    _print_risks(result)
    columns = sorted({tier for row in result.confusion.values() for tier in row})
    if columns:
        print("expected \\ decided   " + "".join(f"{tier:>10}" for tier in columns))
        for tier, row in result.confusion.items():
            print(f"  {tier:<19}" + "".join(f"{row.get(one, 0):>10}" for one in columns))
    for tag, share in _by_tag(judged).items():
        if not tag.startswith("topic-"):
            print(f"  tag {tag:<20}{share['accuracy']:.3f} of {share['count']}")
