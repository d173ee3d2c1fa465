"""Deciding with catalogs that were read from files and scores that a table gives."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import MODELS, write_catalog

from tierwise_server.catalog.loader import load_catalog
from tierwise_server.catalog.model import Catalog
from tierwise_server.catalog.registry import Capability
from tierwise_server.catalog.rules import AttachmentKind
from tierwise_server.deciding.decide import (
    Opening,
    close_decision,
    open_decision,
    tier_scores,
)
from tierwise_server.deciding.decision import DecisionKind, Verdict
from tierwise_server.deciding.request import Constraints, RequiredQuality, RoutingRequest
from tierwise_server.deciding.semantic import Abstention
from tierwise_server.scoring.scorer import Lead

RULES = """\
override:
  - name: images-need-vision
    when: {attachments: [image]}
    then: {require: [vision]}
  - name: review-is-premium
    when: {task_tag: [code-review]}
    then: {tier: premium}
  - name: lookup-is-sql
    when: {keywords: [lookup table]}
    then: {task: sql}
  - name: tests-need-tools
    when: {regex: '\\bpytest\\b'}
    then: {require: [tools], model: big-thinker}
default:
  - name: french-is-budget
    when: {language: [fr]}
    then: {tier: budget}
  - name: long-is-premium
    when: {min_characters: 60}
    then: {tier: premium, require: [reasoning]}
"""

TASKS = ("summarization", "grammar", "sql", "recipes", "architecture", "proofs")


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """The small catalog with rules and models; threshold 0.5, margin 0.05."""
    folder = write_catalog(
        tmp_path_factory.mktemp("catalog"),
        settings="threshold: 0.5\nmargin: 0.05\n",
        rules=RULES,
        models=MODELS,
    )
    return load_catalog(folder.path)


def scores(**by_task: float) -> tuple[Lead, ...]:
    """Returns the best of each tier's two tasks by the scores of the named ones.

    The others score 0. Similarities are half of the scores.
    """
    tasks = [by_task.get(task, 0.0) for task in TASKS]
    best = [max(pair, key=tasks.__getitem__) for pair in ((0, 1), (2, 3), (4, 5))]
    return tuple(Lead(task, tasks[task], tasks[task] / 2) for task in best)


def opened(
    catalog: Catalog, text: str = "a prompt", language: str = "", **fields: object
) -> Opening:
    return open_decision(catalog, RoutingRequest(text=text, **fields), language)  # type: ignore[arg-type]


def decide(
    catalog: Catalog,
    found: tuple[Lead, ...] | None,
    text: str = "a prompt",
    language: str = "",
    **fields: object,
) -> Verdict:
    opening = opened(catalog, text, language, **fields)
    return close_decision(catalog, opening, found if opening.needs_vector else None)


def test_a_pinned_tier_decides_before_everything(catalog: Catalog) -> None:
    opening = opened(catalog, task_tag="code-review", constraints=Constraints(pinned_tier="budget"))
    assert not opening.needs_vector
    verdict = close_decision(catalog, opening, None)
    assert (verdict.kind, verdict.tier.id, verdict.model) == (DecisionKind.PINNED, "budget", "")
    assert verdict.reason == "The request pins tier budget."


def test_a_pinned_model_decides_for_its_tier(catalog: Catalog) -> None:
    verdict = decide(catalog, None, constraints=Constraints(pinned_model="big-thinker"))
    assert verdict.kind is DecisionKind.PINNED
    assert (verdict.tier.id, verdict.model) == ("premium", "big-thinker")


def test_a_pin_keeps_what_rules_require_of_the_model(catalog: Catalog) -> None:
    verdict = decide(
        catalog,
        None,
        attachments=frozenset({AttachmentKind.IMAGE}),
        constraints=Constraints(pinned_tier="mid"),
    )
    assert verdict.required_capabilities == {Capability.VISION}


def test_an_override_rule_decides_before_the_utterances(catalog: Catalog) -> None:
    opening = opened(catalog, task_tag="code-review")
    assert not opening.needs_vector
    verdict = close_decision(catalog, opening, None)
    assert (verdict.kind, verdict.tier.id) == (DecisionKind.OVERRIDE_RULE, "premium")
    assert verdict.rule is not None
    assert verdict.rule.name == "review-is-premium"
    assert "review-is-premium (rules.yaml:5)" in verdict.reason


def test_the_first_matching_override_rule_with_a_target_decides(catalog: Catalog) -> None:
    verdict = decide(catalog, None, "put it into a lookup table", task_tag="code-review")
    assert verdict.tier.id == "premium"


def test_a_rule_may_name_a_task(catalog: Catalog) -> None:
    verdict = decide(catalog, None, "put it into a Lookup Table, please")
    assert verdict.task is not None
    assert (verdict.tier.id, verdict.task.id) == ("mid", "sql")


def test_a_rule_may_name_a_model(catalog: Catalog) -> None:
    verdict = decide(catalog, None, "why does pytest fail")
    assert (verdict.tier.id, verdict.model) == ("premium", "big-thinker")
    assert verdict.required_capabilities == {Capability.TOOLS}


def test_a_rule_that_only_requires_goes_on_deciding(catalog: Catalog) -> None:
    images = frozenset({AttachmentKind.IMAGE})
    opening = opened(catalog, attachments=images)
    assert opening.needs_vector
    verdict = close_decision(catalog, opening, scores(grammar=0.9))
    assert (verdict.kind, verdict.tier.id) == (DecisionKind.SEMANTIC, "budget")
    assert verdict.required_capabilities == {Capability.VISION}
    decided = decide(catalog, None, task_tag="code-review", attachments=images)
    assert decided.kind is DecisionKind.OVERRIDE_RULE
    assert decided.required_capabilities == {Capability.VISION}


def test_utterances_decide_when_the_score_reaches_the_threshold(catalog: Catalog) -> None:
    verdict = decide(catalog, scores(recipes=0.75, proofs=0.5))
    assert verdict.kind is DecisionKind.SEMANTIC
    assert verdict.task is not None
    assert (verdict.tier.id, verdict.task.id) == ("mid", "recipes")
    assert verdict.semantic is not None
    assert verdict.semantic.best.score == 0.75
    assert verdict.semantic.margin == 0.25
    assert verdict.similarity == 0.375
    assert verdict.abstention is None
    assert "task recipes of tier mid: score 0.750 against a threshold of 0.500" in verdict.reason


def test_two_tasks_of_one_tier_are_no_tie(catalog: Catalog) -> None:
    verdict = decide(catalog, scores(sql=0.75, recipes=0.75))
    assert verdict.semantic is not None
    assert not verdict.semantic.tied
    assert verdict.tier.id == "mid"


def test_a_tie_goes_up_and_the_reason_says_so(catalog: Catalog) -> None:
    verdict = decide(catalog, scores(grammar=0.75, proofs=0.72))
    assert verdict.kind is DecisionKind.SEMANTIC
    assert verdict.task is not None
    assert (verdict.tier.id, verdict.task.id) == ("premium", "proofs")
    assert verdict.similarity == pytest.approx(0.36)
    assert "tied with budget, and ties go up" in verdict.reason


def test_a_tie_stays_in_the_tier_of_the_turn_before(catalog: Catalog) -> None:
    verdict = decide(catalog, scores(grammar=0.75, proofs=0.72), previous_tier="budget")
    assert (verdict.kind, verdict.tier.id) == (DecisionKind.PREVIOUS_TIER, "budget")


def test_a_catalog_may_send_ties_to_the_default_tier(tmp_path: Path) -> None:
    folder = write_catalog(tmp_path, settings="threshold: 0.5\nmargin: 0.05\ntie: default\n")
    catalog = load_catalog(folder.path)
    verdict = decide(catalog, scores(grammar=0.75, proofs=0.72))
    assert (verdict.kind, verdict.tier.id) == (DecisionKind.DEFAULT, "mid")
    assert verdict.abstention is Abstention.TIE
    assert "too close to call" in verdict.reason


def test_a_default_rule_decides_when_nothing_matched(catalog: Catalog) -> None:
    verdict = decide(catalog, scores(grammar=0.4), "x" * 60)
    assert (verdict.kind, verdict.tier.id) == (DecisionKind.DEFAULT_RULE, "premium")
    assert verdict.rule is not None
    assert verdict.rule.name == "long-is-premium"
    assert verdict.required_capabilities == {Capability.REASONING}
    assert verdict.abstention is Abstention.BELOW_THRESHOLD
    assert verdict.similarity == pytest.approx(0.2)


def test_a_default_rule_has_no_say_when_something_matched(catalog: Catalog) -> None:
    verdict = decide(catalog, scores(grammar=0.9), "x" * 60)
    assert (verdict.kind, verdict.tier.id) == (DecisionKind.SEMANTIC, "budget")
    assert verdict.required_capabilities == frozenset()


def test_a_default_rule_goes_before_the_previous_tier(catalog: Catalog) -> None:
    verdict = decide(catalog, scores(), "x" * 60, previous_tier="budget")
    assert verdict.kind is DecisionKind.DEFAULT_RULE


def test_the_previous_tier_goes_before_the_default_tier(catalog: Catalog) -> None:
    verdict = decide(catalog, scores(), previous_tier="budget")
    assert (verdict.kind, verdict.tier.id) == (DecisionKind.PREVIOUS_TIER, "budget")


def test_the_default_tier_is_the_last_word(catalog: Catalog) -> None:
    verdict = decide(catalog, scores(grammar=0.4))
    assert (verdict.kind, verdict.tier.id) == (DecisionKind.DEFAULT, "mid")
    assert verdict.task is None
    assert verdict.semantic is not None
    assert verdict.reason == (
        "Nothing matched: the best score is 0.400 of 0.500 needed. The default tier is mid."
    )


def test_rules_only_never_wants_a_vector(catalog: Catalog) -> None:
    opening = opened(catalog, rules_only=True)
    assert not opening.needs_vector
    verdict = close_decision(catalog, opening, None)
    assert (verdict.kind, verdict.tier.id) == (DecisionKind.DEFAULT, "mid")
    assert verdict.abstention is Abstention.RULES_ONLY
    assert verdict.semantic is None
    assert verdict.similarity is None


def test_rules_only_still_tries_every_rule(catalog: Catalog) -> None:
    override = decide(catalog, None, task_tag="code-review", rules_only=True)
    default = decide(catalog, None, "x" * 60, rules_only=True)
    assert override.kind is DecisionKind.OVERRIDE_RULE
    assert override.abstention is None
    assert default.kind is DecisionKind.DEFAULT_RULE


def test_another_language_goes_to_the_default_tier_unread(catalog: Catalog) -> None:
    opening = opened(catalog, language="de")
    assert not opening.needs_vector
    verdict = close_decision(catalog, opening, None)
    assert (verdict.kind, verdict.tier.id) == (DecisionKind.DEFAULT, "mid")
    assert verdict.abstention is Abstention.LANGUAGE
    assert "language de" in verdict.reason


def test_a_language_may_have_a_rule_of_its_own(catalog: Catalog) -> None:
    verdict = decide(catalog, None, language="fr")
    assert (verdict.kind, verdict.tier.id) == (DecisionKind.DEFAULT_RULE, "budget")
    assert verdict.abstention is Abstention.LANGUAGE


@pytest.mark.parametrize("language", ["", "en"])
def test_a_language_that_is_known_or_not_told_is_compared(catalog: Catalog, language: str) -> None:
    assert opened(catalog, language=language).needs_vector


@pytest.mark.parametrize(
    ("limits", "found", "fields", "tier"),
    [
        (Constraints(lowest_tier="mid"), scores(grammar=0.9), {}, "mid"),
        (Constraints(highest_tier="mid"), scores(proofs=0.9), {}, "mid"),
        (Constraints(required_quality=RequiredQuality.HIGH), scores(grammar=0.9), {}, "premium"),
        (Constraints(lowest_tier="premium"), scores(), {}, "premium"),
        (Constraints(highest_tier="budget"), scores(), {}, "budget"),
        (Constraints(highest_tier="mid"), scores(), {"task_tag": "code-review"}, "mid"),
        (Constraints(lowest_tier="mid"), scores(), {"previous_tier": "budget"}, "mid"),
    ],
)
def test_bounds_move_whatever_was_decided_to_the_nearest_allowed_tier(
    catalog: Catalog,
    limits: Constraints,
    found: tuple[Lead, ...],
    fields: dict[str, str],
    tier: str,
) -> None:
    verdict = decide(catalog, found, constraints=limits, **fields)
    assert verdict.tier.id == tier
    assert f"the request's limits move it to {tier}" in verdict.reason


def test_a_rule_whose_tier_is_moved_no_longer_names_its_model(catalog: Catalog) -> None:
    limits = Constraints(highest_tier="mid")
    verdict = decide(catalog, None, "why does pytest fail", constraints=limits)
    assert (verdict.tier.id, verdict.model) == ("mid", "")


def test_a_task_threshold_goes_before_the_tiers_and_that_before_the_catalogs(
    tmp_path: Path,
) -> None:
    folder = write_catalog(tmp_path, settings="threshold: 0.5\nmargin: 0.05\n")
    folder.replace("tiers/budget.yaml", "tier: budget\n", "tier: budget\nthreshold: 0.8\n")
    folder.replace("tiers/budget.yaml", "  grammar:\n", "  grammar:\n    threshold: 0.2\n")
    catalog = load_catalog(folder.path)

    def kind(**found: float) -> DecisionKind:
        return decide(catalog, scores(**found)).kind

    assert kind(grammar=0.25) is DecisionKind.SEMANTIC
    assert kind(summarization=0.75) is DecisionKind.DEFAULT
    assert kind(summarization=0.85) is DecisionKind.SEMANTIC
    assert kind(sql=0.5) is DecisionKind.SEMANTIC
    assert kind(sql=0.45) is DecisionKind.DEFAULT


def test_each_tier_shows_with_its_best_task(catalog: Catalog) -> None:
    shown = tier_scores(catalog, scores(grammar=0.3, recipes=0.2, architecture=0.1))
    assert [(one.rank, TASKS[one.task]) for one in shown] == [
        (0, "grammar"),
        (1, "recipes"),
        (2, "architecture"),
    ]
    assert [one.threshold for one in shown] == [0.5, 0.5, 0.5]


def test_a_reason_holds_nothing_of_the_prompt(catalog: Catalog) -> None:
    marker = "quetzalcoatl"
    for text in (marker, f"lookup table {marker}", f"pytest {marker}", marker * 10):
        for found in (scores(), scores(grammar=0.9)):
            assert marker not in decide(catalog, found, text).reason


def test_rules_that_read_the_text_do_not_hold_without_one(tmp_path: Path) -> None:
    rules = """\
override:
  - name: short-is-budget
    when: {max_characters: 20}
    then: {tier: budget}
  - name: anything-is-premium
    when: {regex: '^'}
    then: {tier: premium}
"""
    catalog = load_catalog(write_catalog(tmp_path, rules=rules).path)
    assert opened(catalog, text="", text_given=False).needs_vector
