"""Routing over a real channel: prompts, conversations, vectors, batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc
import numpy as np
import pytest
from tests.conftest import (
    CALL_TIMEOUT_S,
    LIKE,
    LIKE_NOTHING,
    CatalogFolder,
    Serve,
    Served,
    refused,
)

from tierwise.v1.catalog_service_pb2 import ReloadCatalogRequest
from tierwise.v1.decision_pb2 import DecisionKind, SemanticAbstention
from tierwise.v1.routing_input_pb2 import (
    AttachmentKind,
    Constraints,
    Conversation,
    Embedding,
    Message,
    MessageRole,
    RequiredQuality,
    RoutingInput,
)
from tierwise.v1.routing_service_pb2 import BatchRoutePromptsRequest, RoutePromptRequest
from tierwise_server.encoder.onnx_encoder import OnnxEncoder
from tierwise_server.grpc_api.decision_token import decode_token

SEMANTIC = DecisionKind.DECISION_KIND_SEMANTIC
USER = MessageRole.MESSAGE_ROLE_USER
ASSISTANT = MessageRole.MESSAGE_ROLE_ASSISTANT


def embedding(encoder: OnnxEncoder, text: str, scale: float = 1.0) -> RoutingInput:
    values = encoder.encode(text).astype(np.float64) * scale
    return RoutingInput(embedding=Embedding(encoder_id=encoder.encoder_id, values=values))


async def batch(served: Served, *inputs: RoutingInput) -> list[object]:
    response = await served.routing.BatchRoutePrompts(
        BatchRoutePromptsRequest(inputs=inputs), timeout=CALL_TIMEOUT_S
    )
    return list(response.decisions)


@pytest.mark.parametrize("tier", list(LIKE))
async def test_a_prompt_goes_to_the_tier_that_it_reads_like(shared: Served, tier: str) -> None:
    decision = await shared.route(LIKE[tier])
    assert (decision.tier_id, decision.kind) == (tier, SEMANTIC)
    assert decision.task_id
    assert decision.score >= decision.score_threshold
    assert 0 < decision.similarity <= 1
    assert decision.margin > 0
    assert decision.reason
    assert decision.catalog == "default"
    assert decision.semantic_abstention == SemanticAbstention.SEMANTIC_ABSTENTION_UNSPECIFIED


async def test_a_decision_names_what_it_rests_on(shared: Served, encoder: OnnxEncoder) -> None:
    decision = await shared.route(LIKE["mid"])
    snapshot = shared.server._slot.router.live("").snapshot
    assert decision.encoder_id == encoder.encoder_id
    assert decision.catalog_revision == snapshot.revision
    assert decision.scorer_id == snapshot.scorer.scorer_id
    assert not decision.HasField("confidence")
    assert decision.calibration_id == ""


async def test_a_prompt_like_nothing_gets_the_default_tier(shared: Served) -> None:
    decision = await shared.route(LIKE_NOTHING)
    assert (decision.tier_id, decision.kind) == ("mid", DecisionKind.DECISION_KIND_DEFAULT)
    assert decision.task_id == ""
    assert decision.score < decision.score_threshold
    assert decision.semantic_abstention == SemanticAbstention.SEMANTIC_ABSTENTION_BELOW_THRESHOLD


async def test_decision_ids_differ_and_sort_by_time(shared: Served) -> None:
    first = await shared.route("the same prompt again")
    await asyncio.sleep(0.002)
    second = await shared.route("the same prompt again")
    assert first.decision_id < second.decision_id
    assert first.tier_id == second.tier_id


async def test_a_token_holds_what_a_report_needs(shared: Served) -> None:
    decision = await shared.route(
        LIKE["budget"], caller="billing", expected_tier_id="mid", keep_nothing=True
    )
    token = decode_token(decision.decision_token)
    assert token.decision_id == decision.decision_id
    assert (token.catalog, token.catalog_revision) == ("default", decision.catalog_revision)
    assert (token.tier, token.task, token.kind) == ("budget", decision.task_id, decision.kind)
    assert (token.caller, token.expected_tier, token.keep_nothing) == ("billing", "mid", True)
    assert len(decision.decision_token) <= 2_000
    assert decision.decision_token.isascii()


@pytest.mark.parametrize("tier", list(LIKE))
@pytest.mark.parametrize("scale", [1.0, 7.5, 1e-30, 1e30])
async def test_a_vector_goes_where_its_prompt_goes(
    shared: Served, encoder: OnnxEncoder, tier: str, scale: float
) -> None:
    by_text = await shared.route(LIKE[tier])
    by_vector = await shared.decide(embedding(encoder, LIKE[tier], scale))
    assert by_vector.tier_id == by_text.tier_id == tier
    assert by_vector.task_id == by_text.task_id
    # The words of a text count beside its vector.
    assert by_vector.score == pytest.approx(by_text.score, abs=0.2)
    assert by_vector.timings.encoding_duration.ToTimedelta().total_seconds() == 0


@pytest.mark.parametrize(
    "spoil",
    [
        lambda values: values[:-1],
        lambda values: [*values, 0.0],
        lambda values: [],
        lambda values: [float("nan"), *values[1:]],
        lambda values: [float("inf"), *values[1:]],
        lambda values: [float("-inf"), *values[1:]],
        lambda values: [0.0] * len(values),
    ],
    ids=["short", "long", "empty", "nan", "inf", "-inf", "zero"],
)
async def test_a_vector_that_is_none_names_the_field(
    shared: Served, encoder: OnnxEncoder, spoil: Callable[[list[float]], list[float]]
) -> None:
    message = embedding(encoder, "anything")
    values = spoil(list(message.embedding.values))
    del message.embedding.values[:]
    message.embedding.values.extend(values)
    answer = await refused(shared.decide(message))
    assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
    assert answer.fields == ("input.embedding.values",)


async def test_a_vector_of_another_encoder_is_told(shared: Served, encoder: OnnxEncoder) -> None:
    message = embedding(encoder, "anything")
    message.embedding.encoder_id = "somebody-elses"
    answer = await refused(shared.decide(message))
    assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
    assert answer.reason == "ENCODER_MISMATCH"
    assert answer.metadata == {
        "field": "input.embedding.encoder_id",
        "expected_encoder_id": encoder.encoder_id,
        "actual_encoder_id": "somebody-elses",
    }


async def test_the_last_turn_of_the_user_decides(shared: Served) -> None:
    turns = [
        Message(role=USER, text=LIKE["premium"]),
        Message(role=ASSISTANT, text="Here it is."),
        Message(role=USER, text=LIKE["budget"]),
        Message(role=MessageRole.MESSAGE_ROLE_TOOL, text=LIKE["premium"] * 3),
    ]
    alone = await shared.route(LIKE["budget"])
    decision = await shared.decide(RoutingInput(conversation=Conversation(messages=turns)))
    assert (decision.tier_id, decision.score) == ("budget", alone.score)


async def test_a_short_turn_goes_where_the_one_before_went(shared: Served) -> None:
    turns = [
        Message(role=USER, text=LIKE["premium"]),
        Message(role=ASSISTANT, text="Shall I begin?"),
        Message(role=USER, text="yes, do it"),
    ]
    decision = await shared.decide(RoutingInput(conversation=Conversation(messages=turns)))
    assert decision.tier_id == "premium"


async def test_a_pin_decides_without_a_vector(shared: Served) -> None:
    decision = await shared.route(LIKE["budget"], constraints=Constraints(pinned_tier_id="premium"))
    assert (decision.tier_id, decision.kind) == ("premium", DecisionKind.DECISION_KIND_PINNED)
    for absent in ("score", "score_threshold", "margin", "similarity"):
        assert not decision.HasField(absent)
    assert decision.scorer_id == ""


async def test_an_override_rule_decides_before_the_utterances(shared: Served) -> None:
    decision = await shared.route(LIKE["budget"], task_tag="code-review")
    assert decision.kind == DecisionKind.DECISION_KIND_OVERRIDE_RULE
    assert (decision.tier_id, decision.rule_name) == ("premium", "review-is-premium")


async def test_a_rule_that_only_requires_does_not_decide(shared: Served) -> None:
    kinds = [AttachmentKind.ATTACHMENT_KIND_IMAGE]
    decision = await shared.route(LIKE["budget"], attachment_kinds=kinds)
    assert decision.kind == SEMANTIC


async def test_a_default_rule_decides_when_nothing_matched(shared: Served) -> None:
    decision = await shared.route("zebra umbrella seventeen " * 20)
    assert decision.kind == DecisionKind.DECISION_KIND_DEFAULT_RULE
    assert (decision.tier_id, decision.rule_name) == ("premium", "long-is-premium")


async def test_the_previous_tier_holds_when_nothing_matched(shared: Served) -> None:
    decision = await shared.route(LIKE_NOTHING, previous_tier_id="premium")
    assert decision.kind == DecisionKind.DECISION_KIND_PREVIOUS_TIER
    assert decision.tier_id == "premium"


async def test_rules_only_never_embeds(shared: Served) -> None:
    decision = await shared.route("a prompt never seen before 4711", rules_only=True)
    assert decision.kind == DecisionKind.DECISION_KIND_DEFAULT
    assert decision.semantic_abstention == SemanticAbstention.SEMANTIC_ABSTENTION_RULES_ONLY
    assert not decision.HasField("score")
    assert decision.timings.encoding_duration.ToTimedelta().total_seconds() == 0


async def test_required_quality_raises_the_tier(shared: Served) -> None:
    for quality, tier in (
        (RequiredQuality.REQUIRED_QUALITY_LOW, "budget"),
        (RequiredQuality.REQUIRED_QUALITY_MEDIUM, "mid"),
        (RequiredQuality.REQUIRED_QUALITY_HIGH, "premium"),
    ):
        limits = Constraints(required_quality=quality)
        assert (await shared.route(LIKE["budget"], constraints=limits)).tier_id == tier


@pytest.mark.parametrize(
    ("prompt", "language"),
    [
        ("Kannst du mir diesen Text bitte in zwei Sätzen zusammenfassen?", ""),
        ("この記事を二文で要約してください", ""),
        (LIKE["budget"], "de"),
    ],
)
async def test_another_language_goes_to_the_default_tier(
    shared: Served, prompt: str, language: str
) -> None:
    decision = await shared.route(prompt, language=language)
    assert (decision.tier_id, decision.kind) == ("mid", DecisionKind.DECISION_KIND_DEFAULT)
    assert decision.semantic_abstention == SemanticAbstention.SEMANTIC_ABSTENTION_LANGUAGE


async def test_a_higher_dial_never_leads_to_a_lower_tier(shared: Served) -> None:
    ranks = {"budget": 0, "mid": 1, "premium": 2}
    for prompt in (*LIKE.values(), LIKE_NOTHING, "a summary of the system architecture"):
        tiers = [
            (await shared.route(prompt, cost_quality_dial=dial)).tier_id
            for dial in (0.0, 0.25, 0.5, 0.75, 1.0)
        ]
        assert [ranks[tier] for tier in tiers] == sorted(ranks[tier] for tier in tiers), prompt
        assert (await shared.route(prompt)).tier_id == tiers[2]


async def test_a_repeated_prompt_is_not_embedded_again(shared: Served) -> None:
    prompt = "a prompt that is asked twice, in exactly these words"
    first, second = await shared.route(prompt), await shared.route(prompt)
    assert not first.timings.vector_cached
    assert first.timings.encoding_duration.ToTimedelta().total_seconds() > 0
    assert second.timings.vector_cached
    assert second.timings.encoding_duration.ToTimedelta().total_seconds() == 0
    assert second.score == first.score


async def test_keeping_nothing_leaves_nothing_in_the_cache(shared: Served) -> None:
    prompt = "a prompt of which nothing may be kept, asked three times"
    cache = shared.server._slot.router._prompts._cache
    before = len(cache)
    for _ in range(2):
        decision = await shared.route(prompt, keep_nothing=True)
        assert not decision.timings.vector_cached
    assert len(cache) == before
    assert not (await shared.route(prompt)).timings.vector_cached


async def test_catalogs_are_chosen_by_name_and_the_first_is_the_default(shared: Served) -> None:
    unnamed = await shared.route(LIKE_NOTHING)
    default = await shared.route(LIKE_NOTHING, catalog="default")
    plain = await shared.route(LIKE_NOTHING, catalog="plain")
    assert (unnamed.catalog, unnamed.tier_id) == ("default", "mid")
    assert (default.catalog, default.catalog_revision) == ("default", unnamed.catalog_revision)
    assert (plain.catalog, plain.tier_id) == ("plain", "budget")
    assert plain.catalog_revision != default.catalog_revision


async def test_a_batch_keeps_the_order_and_agrees_with_single_calls(shared: Served) -> None:
    prompts = [*LIKE.values(), LIKE_NOTHING] * 5
    decisions = await batch(shared, *(RoutingInput(prompt=prompt) for prompt in prompts))
    singles = [await shared.route(prompt) for prompt in prompts]
    assert [one.tier_id for one in decisions] == [one.tier_id for one in singles]
    assert [one.score for one in decisions] == [one.score for one in singles]
    assert len({one.decision_id for one in decisions}) == len(prompts)
    assert {one.catalog_revision for one in decisions} == {singles[0].catalog_revision}


async def test_a_batch_may_mix_catalogs_and_kinds_of_content(
    shared: Served, encoder: OnnxEncoder
) -> None:
    turns = Conversation(messages=[Message(role=USER, text=LIKE["premium"])])
    decisions = await batch(
        shared,
        RoutingInput(prompt=LIKE_NOTHING, catalog="plain"),
        embedding(encoder, LIKE["budget"]),
        RoutingInput(conversation=turns),
        RoutingInput(prompt=LIKE_NOTHING),
    )
    assert [(one.catalog, one.tier_id) for one in decisions] == [
        ("plain", "budget"),
        ("default", "budget"),
        ("default", "premium"),
        ("default", "mid"),
    ]


async def test_a_batch_of_256_is_answered(shared: Served) -> None:
    inputs = [RoutingInput(prompt=f"{LIKE['mid']} number {n % 64}") for n in range(256)]
    assert len(await batch(shared, *inputs)) == 256


@pytest.mark.parametrize("count", [0, 257])
async def test_a_batch_of_another_size_names_the_field(shared: Served, count: int) -> None:
    answer = await refused(batch(shared, *[RoutingInput(prompt="x")] * count))
    assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
    assert answer.fields == ("inputs",)


async def test_a_batch_is_refused_as_a_whole_with_every_fault(
    shared: Served, encoder: OnnxEncoder
) -> None:
    answer = await refused(
        batch(
            shared,
            RoutingInput(prompt="fine"),
            RoutingInput(prompt=" "),
            RoutingInput(prompt="fine", caller="x" * 101, language="xx1"),
        )
    )
    assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
    assert sorted(answer.fields) == ["inputs[1].prompt", "inputs[2].caller", "inputs[2].language"]
    answer = await refused(
        batch(
            shared,
            RoutingInput(embedding=Embedding(encoder_id=encoder.encoder_id, values=[1.0])),
            RoutingInput(
                prompt="fine",
                constraints=Constraints(lowest_tier_id="premium", highest_tier_id="mid"),
            ),
        )
    )
    assert answer.fields == ("inputs[0].embedding.values", "inputs[1].constraints.lowest_tier_id")


async def test_every_entry_of_a_batch_may_be_faulty(shared: Served) -> None:
    answer = await refused(batch(shared, *[RoutingInput(prompt=" ")] * 256))
    assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
    assert answer.reason == "INVALID_FIELD"
    assert answer.fields[0] == answer.metadata["field"] == "inputs[0].prompt"


@pytest.mark.parametrize(
    ("message", "code", "reason", "metadata"),
    [
        (
            RoutingInput(prompt="x", catalog="nope"),
            grpc.StatusCode.NOT_FOUND,
            "CATALOG_NOT_FOUND",
            {"field": "input.catalog", "catalog": "nope"},
        ),
        (
            RoutingInput(prompt="x", previous_tier_id="gold"),
            grpc.StatusCode.NOT_FOUND,
            "TIER_NOT_FOUND",
            {"field": "input.previous_tier_id", "tier_id": "gold"},
        ),
        (
            RoutingInput(prompt="x", constraints=Constraints(pinned_model_id="gold")),
            grpc.StatusCode.NOT_FOUND,
            "MODEL_NOT_FOUND",
            {"field": "input.constraints.pinned_model_id", "model_id": "gold"},
        ),
        (
            RoutingInput(prompt=""),
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_FIELD",
            {"field": "input.prompt"},
        ),
        (
            RoutingInput(),
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_FIELD",
            {"field": "input.content"},
        ),
    ],
)
async def test_a_refusal_names_the_field_and_what_is_wrong(
    shared: Served,
    message: RoutingInput,
    code: grpc.StatusCode,
    reason: str,
    metadata: dict[str, str],
) -> None:
    answer = await refused(shared.decide(message))
    assert (answer.code, answer.reason) == (code, reason)
    assert answer.metadata == metadata
    assert answer.message


async def test_a_request_without_input_names_the_field(shared: Served) -> None:
    answer = await refused(shared.routing.RoutePrompt(RoutePromptRequest(), timeout=CALL_TIMEOUT_S))
    assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
    assert answer.fields == ("input.content",)


async def test_rules_about_text_do_not_apply_to_a_vector(
    serve: Serve, catalog: CatalogFolder, encoder: OnnxEncoder
) -> None:
    catalog.write(
        "rules.yaml",
        "override:\n"
        "  - {name: short-is-mid, when: {max_characters: 10000}, then: {tier: mid}}\n"
        "default:\n"
        "  - {name: any-is-budget, when: {regex: '(?s).*'}, then: {tier: budget}}\n",
    )
    async with serve(catalog) as served:
        assert (await served.route(LIKE["premium"])).rule_name == "short-is-mid"
        decision = await served.decide(embedding(encoder, LIKE["premium"]))
        assert (decision.tier_id, decision.rule_name) == ("premium", "")
        nothing = await served.decide(embedding(encoder, LIKE_NOTHING))
        assert (nothing.tier_id, nothing.rule_name) == ("mid", "")


async def test_a_misspelt_prompt_is_remembered_for_as_long_as_its_spelling_holds(
    serve: Serve, catalog: CatalogFolder
) -> None:
    misspelt = "fix the grammar in this sentense"
    async with serve(catalog) as served:
        first = await served.route(misspelt)
        again = await served.route(misspelt)
        assert not first.timings.vector_cached
        assert again.timings.vector_cached
        assert (again.tier_id, again.score) == (first.tier_id, first.score)
        assert again.decision_id != first.decision_id
        # From here on the word is one of the catalog's own, so that it means itself.
        text = catalog.read("tiers/premium.yaml")
        catalog.write("tiers/premium.yaml", f"{text.rstrip()}\n      - {misspelt}\n")
        await served.catalogs.ReloadCatalog(ReloadCatalogRequest(), timeout=CALL_TIMEOUT_S)
        anew = await served.route(misspelt)
        assert not anew.timings.vector_cached
        assert anew.similarity == pytest.approx(1.0, abs=1e-5)
        assert anew.tier_id == "premium"


async def test_a_clause_beside_the_request_does_not_lift_it(shared: Served) -> None:
    request, aside = (
        "who won the football match last night",
        "Our whole platform is about to break.",
    )
    assert (await shared.route(request)).tier_id == "mid"
    for _ in range(2):
        lifted = await shared.route(f"{aside} {request}")
        assert lifted.tier_id == "mid"
        assert "beside the request" in lifted.reason
    alone = await shared.route(request)
    assert alone.timings.vector_cached
    assert "beside the request" not in alone.reason
    assert (await shared.route(f"{aside} {aside} what now")).tier_id == "premium"
