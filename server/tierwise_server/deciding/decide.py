"""Decides on a tier: pins, override rules, evidence, utterances, default rules, defaults.

In that order; the first that answers wins.

Deciding has two halves, so that a prompt is embedded only when nothing before needs no vector:
`open_decision` tries what comes before the comparison with utterances, `close_decision` does the
rest. Both are pure functions of their arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tierwise_server.catalog.calibration import NEUTRAL_DIAL
from tierwise_server.catalog.ids import ModelId, TierId
from tierwise_server.catalog.model import Catalog, Task, TieBreak, Tier
from tierwise_server.catalog.registry import Capability
from tierwise_server.catalog.rules import Rule, RuleSubject
from tierwise_server.deciding.bounds import TierBounds, check_request
from tierwise_server.deciding.confidence import confidence_of
from tierwise_server.deciding.decision import DecisionKind, Verdict
from tierwise_server.deciding.learned import LearnedOutcome, decide_by_evidence
from tierwise_server.deciding.request import RoutingRequest
from tierwise_server.deciding.semantic import (
    Abstention,
    SemanticOutcome,
    TierScore,
    decide_semantically,
)
from tierwise_server.learning import Prediction
from tierwise_server.scoring.scorer import Lead


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A decision as far as it can be made without a vector."""

    request: RoutingRequest
    bounds: TierBounds
    subject: RuleSubject
    language: str
    """Language that was stated or detected; empty when neither."""
    required_capabilities: frozenset[Capability]
    """What override rules that matched ask of the model."""
    verdict: Verdict | None = None
    """The decision, when a pin or an override rule made it."""
    abstention: Abstention | None = None
    """Why no vector is wanted although nothing has decided."""

    @property
    def needs_vector(self) -> bool:
        """Whether the prompt has to be embedded to go on."""
        return self.verdict is None and self.abstention is None


def open_decision(catalog: Catalog, request: RoutingRequest, language: str) -> Opening:
    """Tries pins and override rules.

    Args:
        catalog: The catalog to decide by.
        request: What to decide on.
        language: ISO 639-1 code that was stated or detected; empty when not known.

    Raises:
        RequestError: The request names what the catalog does not have, or contradicts itself.
    """
    bounds = check_request(catalog, request)
    subject = catalog.rules.subject(
        text=request.text,
        task_tag=request.task_tag,
        language=language,
        attachments=request.attachments,
    )
    capabilities, deciding_rule = _override_rules(catalog, request, subject)
    verdict = _pinned(catalog, request, capabilities)
    if verdict is None and deciding_rule is not None:
        verdict = _by_rule(catalog, deciding_rule, bounds, capabilities, DecisionKind.OVERRIDE_RULE)
    abstention = None
    if verdict is None and request.rules_only:
        abstention = Abstention.RULES_ONLY
    elif verdict is None and not catalog.is_compared:
        abstention = Abstention.STALE_CALIBRATION
    elif verdict is None and language and language not in catalog.languages:
        abstention = Abstention.LANGUAGE
    return Opening(
        request=request,
        bounds=bounds,
        subject=subject,
        language=language,
        required_capabilities=capabilities,
        verdict=verdict,
        abstention=abstention,
    )


def close_decision(
    catalog: Catalog,
    opening: Opening,
    leads: Sequence[Lead] | None,
    predictions: Sequence[Prediction] = (),
) -> Verdict:
    """Finishes a decision.

    Args:
        catalog: The catalog to decide by.
        opening: What was decided without a vector.
        leads: Each tier's best task; None where none are needed.
        predictions: What the evidence lets expect of each tier; empty where it is not enough.
    """
    if opening.verdict is not None:
        return opening.verdict
    if leads is None:
        return _by_default(catalog, opening, None, None)
    outcome = semantic_outcome(catalog, opening.request, leads)
    if predictions:
        return _by_evidence(catalog, opening, outcome, leads, predictions)
    if outcome.chosen is None:
        return _by_default(catalog, opening, outcome, leads[outcome.best.rank].similarity)
    verdict = _by_utterances(
        catalog, opening, outcome, outcome.chosen, leads[outcome.chosen.rank].similarity
    )
    # A tier that the request's limits move is no match, and nothing says how likely it is right.
    if catalog.calibration is None or verdict.tier.rank != outcome.chosen.rank:
        return verdict
    confidence = confidence_of(catalog.calibration, leads, outcome.chosen.rank)
    return replace(verdict, confidence=confidence)


def learned_outcome(
    catalog: Catalog, request: RoutingRequest, predictions: Sequence[Prediction]
) -> LearnedOutcome:
    """Returns what the evidence says, the request's dial applied."""
    previous = request.previous_tier
    return decide_by_evidence(
        predictions,
        bar=catalog.learned.bar,
        margin=catalog.margin,
        dial=effective_dial(catalog, request),
        previous_rank=catalog.tier_by_id[TierId(previous)].rank if previous else None,
    )


def tier_scores(catalog: Catalog, leads: Sequence[Lead]) -> list[TierScore]:
    """Returns each tier's showing, cheapest first."""
    return [
        TierScore(
            rank=rank,
            score=lead.score,
            task=lead.task,
            threshold=catalog.threshold_of(catalog.tasks[lead.task]),
        )
        for rank, lead in enumerate(leads)
    ]


def semantic_outcome(
    catalog: Catalog, request: RoutingRequest, leads: Sequence[Lead]
) -> SemanticOutcome:
    """Returns what the comparison with utterances says, the request's dial applied."""
    previous = request.previous_tier
    return decide_semantically(
        tier_scores(catalog, leads),
        margin=catalog.margin,
        tie_goes_up=catalog.tie is TieBreak.HIGHER,
        default_rank=catalog.tier_by_id[catalog.default_tier].rank,
        dial=effective_dial(catalog, request),
        previous_rank=catalog.tier_by_id[TierId(previous)].rank if previous else None,
    )


def effective_dial(catalog: Catalog, request: RoutingRequest) -> float:
    """Returns the request's dial, moved by as much as the catalog rests it elsewhere."""
    return request.dial + catalog.resting_dial - NEUTRAL_DIAL


def rule_holds(rule: Rule, request: RoutingRequest, subject: RuleSubject) -> bool:
    """Returns whether a rule's condition holds; one on the text never does without a text."""
    when = rule.when
    reads_text = when.keywords or when.regex is not None
    measures_text = when.min_characters is not None or when.max_characters is not None
    if not request.text_given and (reads_text or measures_text):
        return False
    return rule.matches(subject)


def _override_rules(
    catalog: Catalog, request: RoutingRequest, subject: RuleSubject
) -> tuple[frozenset[Capability], Rule | None]:
    """Returns what matching rules require, up to the first that decides, and that rule."""
    capabilities: frozenset[Capability] = frozenset()
    for rule in catalog.rules.override:
        if rule_holds(rule, request, subject):
            capabilities |= rule.then.required_capabilities
            if rule.then.has_target:
                return capabilities, rule
    return capabilities, None


def _pinned(
    catalog: Catalog, request: RoutingRequest, capabilities: frozenset[Capability]
) -> Verdict | None:
    limits = request.constraints
    if limits.pinned_model:
        tier_id = catalog.model_by_id[ModelId(limits.pinned_model)].tier
        reason = f"The request pins model {limits.pinned_model}, of tier {tier_id}."
    elif limits.pinned_tier:
        tier_id = TierId(limits.pinned_tier)
        reason = f"The request pins tier {tier_id}."
    else:
        return None
    return Verdict(
        kind=DecisionKind.PINNED,
        tier=catalog.tier_by_id[tier_id],
        model=limits.pinned_model,
        reason=reason,
        required_capabilities=capabilities,
    )


def _by_rule(
    catalog: Catalog,
    rule: Rule,
    bounds: TierBounds,
    capabilities: frozenset[Capability],
    kind: DecisionKind,
) -> Verdict:
    then = rule.then
    task: Task | None = None
    model = ""
    if then.model is not None:
        tier_id, model = catalog.model_by_id[then.model].tier, str(then.model)
    elif then.task is not None:
        task = catalog.task_by_id[then.task]
        tier_id = task.tier
    elif then.tier is not None:
        tier_id = then.tier
    wanted = catalog.tier_by_id[tier_id]
    tier, moved = _within(catalog, bounds, wanted)
    layer = "Override" if kind is DecisionKind.OVERRIDE_RULE else "Default"
    return Verdict(
        kind=kind,
        tier=tier,
        task=task,
        rule=rule,
        model="" if moved else model,
        reason=f"{layer} rule {rule.name} ({rule.location}) asks for {wanted.id}{moved}.",
        required_capabilities=capabilities,
    )


def _within(catalog: Catalog, bounds: TierBounds, tier: Tier) -> tuple[Tier, str]:
    """Returns the tier moved into the bounds, and what to say of it."""
    allowed = catalog.tiers[bounds.clamp(tier.rank)]
    if allowed is tier:
        return tier, ""
    return allowed, f"; the request's limits move it to {allowed.id}"


def _by_evidence(
    catalog: Catalog,
    opening: Opening,
    semantic: SemanticOutcome,
    leads: Sequence[Lead],
    predictions: Sequence[Prediction],
) -> Verdict:
    """Returns the tier that the evidence speaks for, with the task that the utterances do."""
    learned = learned_outcome(catalog, opening.request, predictions)
    chosen = learned.chosen
    wanted = catalog.tiers[chosen.rank]
    tier, moved = _within(catalog, opening.bounds, wanted)
    if learned.kept_previous:
        kind, which = DecisionKind.PREVIOUS_TIER, "a cheaper tier is barely as good, so it stays in"
    elif learned.cleared:
        kind, which = DecisionKind.LEARNED, "the cheapest tier that is good enough is"
    else:
        kind, which = DecisionKind.LEARNED, "no tier is surely good enough, the nearest is"
    shown = semantic.chosen or semantic.best
    return Verdict(
        kind=kind,
        tier=tier,
        task=catalog.tasks[shown.task] if semantic.chosen is not None else None,
        semantic=semantic,
        similarity=leads[shown.rank].similarity,
        learned=learned,
        reason=f"By evidence on prompts like it, {which} {wanted.id}: quality"
        f" {chosen.quality:.3f}, at least {chosen.lower:.3f} of {learned.required:.3f} required"
        f" (bar {learned.bar:.3f}){moved}.",
        required_capabilities=opening.required_capabilities,
    )


def _by_utterances(
    catalog: Catalog,
    opening: Opening,
    outcome: SemanticOutcome,
    chosen: TierScore,
    similarity: float,
) -> Verdict:
    wanted = catalog.tiers[chosen.rank]
    task = catalog.tasks[chosen.task]
    tier, moved = _within(catalog, opening.bounds, wanted)
    tie = ""
    if outcome.kept_previous:
        tie = f", tied with others, so the conversation stays in {wanted.id}"
    elif outcome.tied and chosen.rank != outcome.best.rank:
        best = catalog.tiers[outcome.best.rank]
        tie = f", tied with {best.id}, and ties go up"
    return Verdict(
        kind=DecisionKind.PREVIOUS_TIER if outcome.kept_previous else DecisionKind.SEMANTIC,
        tier=tier,
        task=task,
        semantic=outcome,
        similarity=similarity,
        reason=f"It reads like task {task.id} of tier {wanted.id}: score {outcome.best.score:.3f}"
        f" against a threshold of {outcome.threshold:.3f}{tie}{moved}.",
        required_capabilities=opening.required_capabilities,
    )


def _by_default(
    catalog: Catalog,
    opening: Opening,
    outcome: SemanticOutcome | None,
    similarity: float | None,
) -> Verdict:
    abstention = outcome.abstention if outcome is not None else opening.abstention
    verdict = _default_verdict(catalog, opening)
    why = _abstention_sentence(abstention, outcome, opening.language)
    return replace(
        verdict,
        reason=f"{why} {verdict.reason}",
        semantic=outcome,
        abstention=abstention,
        similarity=similarity,
    )


def _default_verdict(catalog: Catalog, opening: Opening) -> Verdict:
    capabilities = opening.required_capabilities
    for rule in catalog.rules.default:
        if rule_holds(rule, opening.request, opening.subject):
            capabilities |= rule.then.required_capabilities
            return _by_rule(catalog, rule, opening.bounds, capabilities, DecisionKind.DEFAULT_RULE)
    previous = opening.request.previous_tier
    wanted = catalog.tier_by_id[TierId(previous) if previous else catalog.default_tier]
    tier, moved = _within(catalog, opening.bounds, wanted)
    fallback = "The turn before was in" if previous else "The default tier is"
    return Verdict(
        kind=DecisionKind.PREVIOUS_TIER if previous else DecisionKind.DEFAULT,
        tier=tier,
        reason=f"{fallback} {wanted.id}{moved}.",
        required_capabilities=capabilities,
    )


def _abstention_sentence(
    abstention: Abstention | None, outcome: SemanticOutcome | None, language: str
) -> str:
    match abstention:
        case Abstention.RULES_ONLY:
            return "The request asks for rules only."
        case Abstention.LANGUAGE:
            return f"The prompt is in language {language}, which the encoder does not know well."
        case Abstention.STALE_CALIBRATION:
            return "The catalog's calibration is stale, so prompts are left to rules."
        case Abstention.TIE:
            return "Tiers are too close to call."
        case Abstention.BELOW_THRESHOLD if outcome is not None:
            return (
                f"Nothing matched: the best score is {outcome.best.score:.3f}"
                f" of {outcome.threshold:.3f} needed."
            )
        case _:
            return "Nothing matched."
