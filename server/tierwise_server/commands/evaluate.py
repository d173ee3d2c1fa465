"""`tierwise evaluate`: runs held-out cases or a labelled file against a catalog."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tierwise_server.catalog.cases import Case, Role
from tierwise_server.catalog.model import Catalog
from tierwise_server.commands.local import open_parts, open_router
from tierwise_server.deciding.deciding_text import Turn, of_conversation, of_prompt
from tierwise_server.deciding.decision import DecisionKind
from tierwise_server.deciding.request import RoutingRequest
from tierwise_server.evaluation import OUT_OF_SCOPE, Figures, Judgement, figures
from tierwise_server.parts import ServeError
from tierwise_server.routing import Query, Routed

_MATCHED = frozenset(
    {
        DecisionKind.OVERRIDE_RULE,
        DecisionKind.LEARNED,
        DecisionKind.SEMANTIC,
        DecisionKind.DEFAULT_RULE,
    }
)
_OOS_LABELS = frozenset({"oos", OUT_OF_SCOPE})


class LabelledFileError(Exception):
    """A labelled file that cannot be read; the message says where and what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One prompt and what is expected of it."""

    query: Query
    tier: str
    task: str = ""
    tags: tuple[str, ...] = field(default=())
    source: str
    """File and line."""
    shown: str
    """The prompt as it is shown where the decision is wrong."""


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
    judged = list(map(_judgement, questions, routed))
    result = figures(judged)
    if arguments.json:
        print(json.dumps({"all": asdict(result), "tags": _by_tag(judged)}))
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
        yield from _file_questions(arguments.file, catalog)


def case_question(case: Case) -> Question:
    """Returns a case as a query with what is expected."""
    if case.prompt is not None:
        deciding = of_prompt(case.prompt)
    else:
        turns = [Turn(by_user=one.role is Role.USER, text=one.text) for one in case.messages]
        deciding = of_conversation(turns)
    text = deciding.text
    return Question(
        query=Query(
            request=RoutingRequest(
                text=text,
                character_count=len(text),
                previous_tier=case.previous_tier or "",
                language=case.language or "",
            ),
            embedded_text=deciding.embedded_text,
        ),
        tier=case.tier or OUT_OF_SCOPE,
        task=case.task or "",
        tags=case.tags,
        source=str(case.location),
        shown=text,
    )


def _file_questions(file: Path, catalog: Catalog) -> Iterator[Question]:
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise LabelledFileError(f"{file}: {error}") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _file_question(line, f"{file}:{number}", catalog)


def _file_question(line: str, source: str, catalog: Catalog) -> Question:
    try:
        row = json.loads(line)
        text, label = row["text"], row["label"]
    except (ValueError, KeyError, TypeError) as error:
        raise LabelledFileError(f"{source}: needs an object with `text` and `label`") from error
    if not (isinstance(text, str) and text.strip() and isinstance(label, str)):
        raise LabelledFileError(f"{source}: `text` and `label` must be text, and not empty")
    if not text.isascii() and text.encode(errors="ignore").decode() != text:
        raise LabelledFileError(f"{source}: `text` has half a character (a lone surrogate)")
    if label in _OOS_LABELS:
        tier, task = OUT_OF_SCOPE, ""
    elif label in catalog.tier_by_id:
        tier, task = label, ""
    elif label in catalog.task_by_id:
        tier, task = "", label
    else:
        raise LabelledFileError(f"{source}: {label!r} is no tier or task of the catalog, nor oos")
    return Question(
        query=Query(
            request=RoutingRequest(text=text, character_count=len(text)),
            embedded_text=of_prompt(text).embedded_text,
        ),
        tier=tier,
        task=task,
        source=source,
        shown=text,
    )


def _judgement(question: Question, routed: Routed) -> Judgement:
    verdict = routed.verdict
    return Judgement(
        expected_tier=question.tier,
        expected_task=question.task,
        decided_tier=verdict.tier.id,
        decided_task=verdict.task.id if verdict.task is not None else "",
        matched=verdict.kind in _MATCHED,
        score=verdict.semantic.best.score if verdict.semantic is not None else None,
        tags=question.tags,
    )


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
    ):
        if value is not None:
            print(f"  {name:<24}{value:.3f}")
    columns = sorted({tier for row in result.confusion.values() for tier in row})
    if columns:
        print("expected \\ decided   " + "".join(f"{tier:>10}" for tier in columns))
        for tier, row in result.confusion.items():
            print(f"  {tier:<19}" + "".join(f"{row.get(one, 0):>10}" for one in columns))
    for tag, share in _by_tag(judged).items():
        if not tag.startswith("topic-"):
            print(f"  tag {tag:<20}{share['accuracy']:.3f} of {share['count']}")
