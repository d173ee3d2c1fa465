"""What the rules find in small catalogs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import UTTERANCES, write_catalog

from tierwise_server.catalog.lint_rules import LintRule
from tierwise_server.catalog.loader import load_catalog
from tierwise_server.catalog.model import Catalog
from tierwise_server.encoder.onnx_encoder import OnnxEncoder
from tierwise_server.linting.findings import Finding, Severity, in_order
from tierwise_server.linting.lint import lint_texts, lint_vectors
from tierwise_server.linting.vector_rules import vector_findings

Texts = Mapping[str, Mapping[str, Sequence[str]]]


def loaded(folder: Path, utterances: Texts = UTTERANCES, **files: str) -> Catalog:
    return load_catalog(write_catalog(folder, utterances=utterances, **files).path)


def by_rule(findings: Sequence[Finding], rule: LintRule) -> list[Finding]:
    return [one for one in findings if one.rule == rule]


def with_task(tier: str, task: str, texts: Sequence[str]) -> Texts:
    return {**UTTERANCES, tier: {**UTTERANCES[tier], task: texts}}


def test_the_small_catalog_is_well_but_for_its_long_premium_texts(
    tmp_path: Path, encoder: OnnxEncoder
) -> None:
    catalog = loaded(tmp_path)
    embed = lambda texts: np.array([encoder.encode(text) for text in texts])  # noqa: E731
    findings = [*lint_texts(catalog), *lint_vectors(catalog, embed, embed)]
    warnings = [one.rule for one in findings if one.severity is not Severity.NOTE]
    assert warnings == [LintRule.SURFACE_SHORTCUT]


def test_a_thin_task_is_named_with_its_line(tmp_path: Path) -> None:
    catalog = loaded(tmp_path, with_task("mid", "travel", ["plan a trip to Rome"]))
    (one,) = by_rule(lint_texts(catalog), LintRule.THIN_TASK)
    assert (one.file, one.severity) == ("tiers/mid.yaml", Severity.WARNING)
    assert one.line == catalog.task_by_id[catalog.tasks[-3].id].location.line
    assert "travel has 1 utterance." in one.message
    assert "at least 4" in one.suggestion


def test_tasks_without_cases_are_noted_where_others_have_some(tmp_path: Path) -> None:
    assert by_rule(lint_texts(loaded(tmp_path / "a")), LintRule.UNTESTED_TASK) == []
    cases = "- {prompt: is this spelt well, tier: budget, task: grammar}\n"
    noted = by_rule(lint_texts(loaded(tmp_path / "b", cases=cases)), LintRule.UNTESTED_TASK)
    assert len(noted) == 5


def test_the_same_words_in_two_tiers_and_in_a_case_are_found(tmp_path: Path) -> None:
    texts = with_task("premium", "texts", [*"abcde", "Fix the grammar, in this sentence!"])
    cases = "- {prompt: 'TL;DR of this thread, please!', tier: budget}\n"
    across, leak = by_rule(lint_texts(loaded(tmp_path, texts, cases=cases)), LintRule.SAME_WORDS)
    assert across.file == "tiers/premium.yaml"
    assert [at.file for at in across.related] == ["tiers/budget.yaml"]
    assert (leak.file, leak.line) == ("cases/basics.yaml", 1)


def test_an_uneven_tier_and_a_language_without_utterances(tmp_path: Path) -> None:
    texts = with_task("premium", "numbers", [f"prove lemma number {one}" for one in range(30)])
    texts = {**texts, "mid": {"german": ["wie backe ich einen Kuchen ohne Mehl und Zucker"]}}
    catalog = loaded(tmp_path, texts, settings="languages: [en, fr]\n")
    findings = lint_texts(catalog)
    uneven = by_rule(findings, LintRule.UNEVEN_TIERS)
    assert [one.file for one in uneven] == ["tiers/budget.yaml", "tiers/mid.yaml"]
    (missing,) = by_rule(findings, LintRule.MISSING_LANGUAGE)
    assert "lists fr, but 0 of 51" in missing.message
    (unlisted,) = by_rule(findings, LintRule.UNLISTED_LANGUAGE)
    assert unlisted.file == "tiers/mid.yaml"
    assert "de" in unlisted.message


def test_tiers_that_length_gives_away(tmp_path: Path) -> None:
    texts = {
        "budget": {"short": [f"fix word {one}" for one in range(40)]},
        "mid": {"middle": [f"write some code for the thing number {one}" for one in range(40)]},
        "premium": {
            "long": [
                f"please design the whole of the large system number {one} for me with great care"
                for one in range(40)
            ]
        },
    }
    (one,) = by_rule(lint_texts(loaded(tmp_path, texts)), LintRule.SURFACE_SHORTCUT)
    assert "100%" in one.message
    assert "at most 45%" in one.message
    assert "median budget" in one.suggestion


def units(*angles: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Returns unit vectors in a plane."""
    return np.array([[np.cos(one), np.sin(one)] for one in angles], dtype=np.float32)


def test_near_duplicates_leaks_and_dead_utterances_by_their_vectors(tmp_path: Path) -> None:
    texts = {
        "budget": {"first": ["a one", "a two", "a three", "a four"]},
        "mid": {"second": ["b one", "b two", "b three", "b four"]},
    }
    catalog = loaded(tmp_path, texts, cases="- {prompt: a case, tier: budget}\n")
    vectors = units(0.0, 0.1, 0.21, 1.5, 1.6, 2.5, 2.52, 3.5)
    findings = list(vector_findings(catalog, vectors, catalog.cases, units(3.2)))
    pairs = {
        (one.severity, one.line, one.related[0].file)
        for one in by_rule(findings, LintRule.NEAR_DUPLICATE)
    }
    lines = {one.text: one.location.line for one in catalog.utterances}
    assert pairs == {
        (Severity.NOTE, lines["a two"], "tiers/budget.yaml"),
        (Severity.NOTE, lines["a three"], "tiers/budget.yaml"),
        (Severity.NOTE, lines["b three"], "tiers/mid.yaml"),
        (Severity.WARNING, lines["b one"], "tiers/budget.yaml"),
    }
    (leak,) = by_rule(findings, LintRule.NEAR_LEAK)
    assert "a case" in leak.message
    assert "b four" in leak.message
    dead = {one.message.split("`")[1] for one in by_rule(findings, LintRule.DEAD_UTTERANCE)}
    # `b four` is the nearest of the case.
    assert dead == {"a four", "b one"}


def test_confusable_tasks_name_the_pairs_that_cause_it(
    tmp_path: Path, encoder: OnnxEncoder
) -> None:
    same = [
        "translate the menu into Italian",
        "translate my letter into Spanish",
        "put this email into French",
        "say this sentence in Polish",
        "how do you say thank you in Greek",
        "translate this contract into Dutch",
        "turn the recipe into Portuguese",
        "give me this text in Danish",
    ]
    texts = {
        **with_task("premium", "translating-well", [one + ", nicely" for one in same]),
        "budget": {**UTTERANCES["budget"], "translation": same},
    }
    catalog = loaded(tmp_path, texts)
    embed = lambda words: np.array([encoder.encode(word) for word in words])  # noqa: E731
    findings = by_rule(lint_vectors(catalog, embed, embed), LintRule.CONFUSABLE_TASKS)
    named = [one for one in findings if "translati" in one.message]
    assert named
    assert named[0].severity is Severity.WARNING
    assert {at.file for at in named[0].related} == {"tiers/budget.yaml", "tiers/premium.yaml"}


@pytest.mark.parametrize("ignored", [(), (LintRule.THIN_TASK,)])
def test_a_catalog_silences_rules(tmp_path: Path, ignored: Sequence[LintRule]) -> None:
    lint = f"lint: {{ignore: [{', '.join(ignored)}]}}\n" if ignored else ""
    catalog = loaded(tmp_path, with_task("mid", "one", ["only this"]), settings=lint)
    assert catalog.ignored_lint == ignored
    findings = in_order(lint_texts(catalog), catalog.ignored_lint)
    assert bool(by_rule(findings, LintRule.THIN_TASK)) is not bool(ignored)
