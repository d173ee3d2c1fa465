"""The content revision and the differences between two catalogs."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import pytest

from tierwise_server.catalog.difference import Change, TaskDifference, task_differences
from tierwise_server.catalog.ids import TaskId
from tierwise_server.catalog.model import Catalog

Files: TypeAlias = dict[str, str]
Parse: TypeAlias = Callable[[Mapping[str, str | bytes]], Catalog]
Edited: TypeAlias = Callable[..., Files]

BUDGET = "tiers/budget.yaml"
PREMIUM = "tiers/premium.yaml"


@pytest.mark.parametrize(
    "edit",
    [
        (BUDGET, "tier: budget", "# a comment\n\n\ntier:    'budget'"),
        (BUDGET, "- summarize this email", "-   >-\n        summarize this email\n       "),
        (BUDGET, "Bounded work.", '"Bounded work."'),
        ("catalog.yaml", "[budget, premium]", "\n  - budget\n  - premium"),
        ("catalog.yaml", "threshold: 0.35", "threshold: 0.350"),
        ("models.yaml", "output: 0.60", "output: 0.6"),
        ("models.yaml", "[tools, vision]", "[vision, tools]"),
        ("rules.yaml", "{attachments: [image]}", "\n      attachments: [image]"),
        ("cases/basics.yaml", "shorten the article", "shorten the essay"),
    ],
)
def test_writing_the_same_in_another_way_keeps_the_revision(
    edit: tuple[str, str, str], parse: Parse, valid_files: Files, edited: Edited
) -> None:
    assert parse(edited(edit)).content_revision == parse(valid_files).content_revision


@pytest.mark.parametrize(
    "edit",
    [
        (BUDGET, "summarize this email", "summarise this email"),
        (BUDGET, "threshold: 0.45", "threshold: 0.46"),
        (BUDGET, "    threshold: 0.45\n", ""),
        (BUDGET, "threshold: 0.3\n", "threshold: 0.31\n"),
        (BUDGET, "Bounded work.", "Other work."),
        (BUDGET, "Shorten a given text.", "Shorten."),
        (PREMIUM, "- design a queue", "- a new one\n      - design a queue"),
        ("catalog.yaml", "default_tier: premium", "default_tier: budget"),
        ("catalog.yaml", "threshold: 0.35", "threshold: 0.36"),
        ("catalog.yaml", "margin: 0.05", "margin: 0.06"),
        ("catalog.yaml", "tie: default", "tie: higher"),
        ("catalog.yaml", "[en, de]", "[en]"),
        ("catalog.yaml", "all-minilm-l6-v2", "other"),
        ("catalog.yaml", "baseline_model: large", "baseline_model: small"),
        ("rules.yaml", "[code-review]", "[code-audit]"),
        ("rules.yaml", "{require: [vision]}", "{require: [audio]}"),
        ("rules.yaml", "4000", "4001"),
        ("rules.yaml", "'```'", "'~~~'"),
        ("rules.yaml", "name: long-with-code", "name: long"),
        ("models.yaml", "output: 0.60", "output: 0.61"),
        ("models.yaml", "price: catalog", "price: unknown"),
        ("models.yaml", "200000", "200001"),
        ("models.yaml", "64000", "64001"),
        ("models.yaml", "[tools, vision]", "[tools]"),
        ("models.yaml", "quality: 0.7", "quality: 0.8"),
        ("models.yaml", "requests_per_minute: 1000", "tokens_per_minute: 1000"),
        ("models.yaml", "region: eu", "region: us"),
        ("models.yaml", "localhost", "example.org"),
        ("models.yaml", "weight: 2.5", "weight: 3"),
        ("models.yaml", "token_family: llama", "token_family: other"),
        ("models.yaml", "Small-1.5", "Small-1.6"),
        ("models.yaml", "openai", "other"),
    ],
)
def test_changing_what_is_said_changes_the_revision(
    edit: tuple[str, str, str], parse: Parse, valid_files: Files, edited: Edited
) -> None:
    assert parse(edited(edit)).content_revision != parse(valid_files).content_revision


def test_revision_is_a_hex_hash_that_stays_over_processes(parse: Parse) -> None:
    catalog = parse(
        {
            "catalog.yaml": "tiers: [only]\ndefault_tier: only\nthreshold: 0.3\nmargin: 0.1\n",
            "tiers/only.yaml": "tier: only\ntasks: {one: {description: d, utterances: [hi]}}\n",
        }
    )

    assert catalog.content_revision == (
        "dfd5483745dbcb10803285133319852e3e375da0764c29418366e40edc006606"
    )


def test_same_catalogs_do_not_differ(parse: Parse, valid_files: Files, edited: Edited) -> None:
    reordered = edited(
        (BUDGET, "- summarize this email in two sentences", "- moved"),
        (BUDGET, '- "tl;dr: the thread"', "- summarize this email in two sentences"),
    )
    reordered[BUDGET] = reordered[BUDGET].replace("moved", '"tl;dr: the thread"')

    assert task_differences(parse(valid_files), parse(reordered)) == ()


def test_differences_name_task_change_and_counts(
    parse: Parse, valid_files: Files, edited: Edited
) -> None:
    after = parse(
        edited(
            (BUDGET, "  translation:", "  interpreting:"),
            (BUDGET, '"tl;dr: the thread"', "recap the thread\n      - give me the gist"),
        )
    )

    assert task_differences(parse(valid_files), after) == (
        TaskDifference(
            task=TaskId("interpreting"),
            change=Change.ADDED,
            added_utterance_count=1,
            removed_utterance_count=0,
        ),
        TaskDifference(
            task=TaskId("summarization"),
            change=Change.MODIFIED,
            added_utterance_count=2,
            removed_utterance_count=1,
        ),
        TaskDifference(
            task=TaskId("translation"),
            change=Change.REMOVED,
            added_utterance_count=0,
            removed_utterance_count=1,
        ),
    )


@pytest.mark.parametrize(
    "edit",
    [
        (BUDGET, "threshold: 0.45", "threshold: 0.5"),
        (BUDGET, "Put a text into another language.", "Translate."),
    ],
)
def test_task_with_other_threshold_or_description_is_modified(
    edit: tuple[str, str, str], parse: Parse, valid_files: Files, edited: Edited
) -> None:
    (found,) = task_differences(parse(valid_files), parse(edited(edit)))

    assert (found.task, found.change) == ("translation", Change.MODIFIED)
    assert (found.added_utterance_count, found.removed_utterance_count) == (0, 0)


def test_task_that_moved_to_another_tier_is_modified(parse: Parse, valid_files: Files) -> None:
    task = (
        "  translation:\n    description: Put a text into another language.\n"
        "    threshold: 0.45\n    utterances:\n      - translate this to French\n"
    )
    moved = dict(valid_files)
    moved[BUDGET] = moved[BUDGET].replace(task, "")
    moved[PREMIUM] += task

    (found,) = task_differences(parse(valid_files), parse(moved))

    assert (found.task, found.change) == ("translation", Change.MODIFIED)
