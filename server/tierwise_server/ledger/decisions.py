"""From what the router says to what the ledger keeps of it.

Of a request of which nothing may be kept, that is: when it was decided, by which catalog, which
tier and model, by which kind of decision, for whom, and how long it took. The task and the rule
would tell what the prompt is about, scores and similarity would find it again as a hash does, and
the estimates tell its length.
"""

from __future__ import annotations

from tierwise_server.ledger.records import CatalogModel, CatalogRecord, DecisionRecord
from tierwise_server.routing import Query, Routed
from tierwise_server.snapshot import Snapshot


def decision_record(
    decision_id: str, query: Query, routed: Routed, *, with_prompt: bool
) -> DecisionRecord:
    """Returns what the ledger keeps of a decision; holds no reference to the prompt's text.

    Args:
        decision_id: The decision's id.
        query: What was decided on.
        routed: The decision.
        with_prompt: Whether to keep the prompt, unless the caller forbids it.
    """
    request, verdict, choice, timings = query.request, routed.verdict, routed.choice, routed.timings
    keep_nothing = request.keep_nothing
    bare = DecisionRecord(
        decision_id,
        routed.catalog,
        routed.snapshot.revision,
        choice.model.model.tier if choice is not None else verdict.tier.id,
        int(verdict.kind),
        choice.model.model.id if choice is not None else "",
        choice.baseline.model.id if choice is not None else "",
        routed.propensity,
        request.caller,
        keep_nothing,
        timings.queue_s,
        timings.encoding_s,
        timings.scoring_s,
        timings.total_s,
        timings.vector_cached,
    )
    if keep_nothing:
        return bare
    semantic = verdict.semantic
    return bare._replace(
        task=verdict.task.id if verdict.task is not None else "",
        rule_name=verdict.rule.name if verdict.rule is not None else "",
        abstention=verdict.abstention.value if verdict.abstention is not None else 0,
        score=semantic.best.score if semantic is not None else None,
        score_threshold=semantic.threshold if semantic is not None else None,
        margin=semantic.margin if semantic is not None else None,
        similarity=verdict.similarity,
        estimated_cost_nano_usd=choice.estimated_cost_nano_usd if choice is not None else None,
        counterfactual_nano_usd=choice.counterfactual_cost_nano_usd if choice is not None else None,
        estimated_input_tokens=choice.plan.estimated_input_tokens if choice is not None else None,
        assumed_output_tokens=choice.plan.assumed_output_tokens if choice is not None else None,
        expected_tier=request.expected_tier,
        task_tag=request.task_tag,
        metadata=request.metadata or None,
        prompt=(query.embedded_text or request.text or None) if with_prompt else None,
    )


def catalog_record(name: str, snapshot: Snapshot) -> CatalogRecord:
    """Returns what outcomes of a snapshot's decisions are priced by."""
    registry = snapshot.models
    return CatalogRecord(
        revision=snapshot.revision,
        catalog=name,
        encoder_id=snapshot.encoder_id,
        scorer_id=snapshot.scorer.scorer_id,
        tiers=registry.tier_ids,
        baseline_model_id=registry.baseline.model.id if registry.baseline is not None else "",
        models={
            str(one.model.id): CatalogModel(
                provider=one.model.provider,
                name=one.model.name,
                tier=one.model.tier,
                price=one.price,
            )
            for one in registry.models
        },
    )
