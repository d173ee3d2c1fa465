"""Decisions and explanations as text."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration

from tierwise.commands.render import decision_lines, dollars, explanation_lines, milliseconds
from tierwise.v1.decision_pb2 import (
    Decision,
    DecisionKind,
    Plan,
    PlanStep,
    PlanStepKind,
    StageTimings,
)
from tierwise.v1.error_class_pb2 import ErrorClass
from tierwise.v1.explanation_pb2 import (
    DroppedModel,
    Explanation,
    Flip,
    RuleMatch,
    TaskCandidate,
    TierCandidate,
    UtteranceMatch,
    UtteranceRemoval,
)
from tierwise.v1.model_pb2 import Model

MATCH = UtteranceMatch(
    utterance="fix the grammar", similarity=0.75, source_file="tiers/budget.yaml", source_line=7
)


def test_durations_and_amounts_have_their_units() -> None:
    assert milliseconds(Duration(seconds=1, nanos=500_000)) == 1000.5
    assert dollars(150_000) == "$0.000150"


def test_a_decision_by_utterances_shows_its_evidence() -> None:
    decision = Decision(
        tier_id="budget",
        task_id="grammar",
        kind=DecisionKind.DECISION_KIND_SEMANTIC,
        reason="It reads like grammar.",
        score=0.61,
        score_threshold=0.4,
        margin=0.2,
        similarity=0.7,
        catalog="default",
        catalog_revision="abc",
        timings=StageTimings(total_duration=Duration(nanos=2_500_000), vector_cached=True),
    )
    lines = list(decision_lines(decision))
    assert lines[0] == "budget / grammar  (semantic)"
    text = "\n".join(lines)
    for part in (
        "It reads like grammar.",
        "score 0.610 of 0.400 needed, margin 0.200, similarity 0.700",
        "2.50 ms",
        "vector was cached",
        "default at revision abc",
    ):
        assert part in text


def test_a_decision_without_comparison_shows_none() -> None:
    decision = Decision(tier_id="mid", kind=DecisionKind.DECISION_KIND_PINNED, reason="Pinned.")
    text = "\n".join(decision_lines(decision))
    assert text.startswith("mid  (pinned)")
    assert "evidence" not in text
    assert "model" not in text


def test_a_plan_shows_each_step_and_what_leads_to_it() -> None:
    decision = Decision(
        tier_id="mid",
        kind=DecisionKind.DECISION_KIND_DEFAULT,
        model_id="middle",
        estimated_cost_nano_usd=2_000_000,
        counterfactual_cost_nano_usd=9_000_000,
        baseline_model_id="big",
        plan=Plan(
            steps=[
                PlanStep(model=Model(model_id="middle"), kind=PlanStepKind.PLAN_STEP_KIND_FIRST),
                PlanStep(
                    model=Model(model_id="big"),
                    kind=PlanStepKind.PLAN_STEP_KIND_ESCALATION,
                    error_classes=[ErrorClass.ERROR_CLASS_RATE_LIMITED],
                ),
            ]
        ),
    )
    text = "\n".join(decision_lines(decision))
    assert "middle, about $0.002000 a call against $0.009000 on big" in text
    assert "big (escalation) after rate-limited" in text


def test_values_of_a_newer_server_are_shown_rather_than_refused() -> None:
    """New kinds and error classes may be added to the contract."""
    decision = Decision(
        tier_id="mid",
        kind=77,  # type: ignore[arg-type]
        model_id="m",
        plan=Plan(
            steps=[
                PlanStep(model=Model(model_id="m")),
                PlanStep(model=Model(model_id="n"), kind=88, error_classes=[99]),  # type: ignore[arg-type, list-item]
            ]
        ),
    )
    assert next(iter(decision_lines(decision))).startswith("mid")
    assert "\n".join(decision_lines(decision))


def test_an_explanation_shows_every_part() -> None:
    explanation = Explanation(
        language="en",
        tiers=[TierCandidate(tier_id="budget", score=0.6, score_threshold=0.4, task_id="grammar")],
        tasks=[
            TaskCandidate(
                task_id="grammar",
                tier_id="budget",
                score=0.6,
                score_threshold=0.4,
                similarity=0.75,
                utterance_matches=[MATCH],
            )
        ],
        rules=[
            RuleMatch(
                rule_name="r", source_file="rules.yaml", source_line=3, override=True, applied=True
            )
        ],
        dropped_models=[
            DroppedModel(model_id="m", constraint="context-window", description="is small")
        ],
        flips=[
            Flip(
                utterance_removal=UtteranceRemoval(utterance_matches=[MATCH]),
                tier_id="mid",
                task_id="sql",
            )
        ],
    )
    text = "\n".join(explanation_lines(explanation))
    for part in (
        "language    en",
        "best task grammar",
        "budget/grammar: score 0.600",
        "0.750  tiers/budget.yaml:7  fix the grammar",
        "r (override, rules.yaml:3) applied",
        "m: context-window: is small",
        "to mid / sql without",
    ):
        assert part in text
