"""From the library's types to the messages of the contract and back."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from tierwise.contract import decision_of, needed_capabilities, routing_input
from tierwise.decisions import Capability, DecisionKind, Price, StepKind
from tierwise.error_class import ErrorClass
from tierwise.errors import ConfigurationError
from tierwise.messages import (
    ChatRequest,
    Image,
    JsonSchema,
    Message,
    Role,
    Tool,
    assistant,
    system,
    tool_result,
    user,
)
from tierwise.routing import Priority, RequiredQuality, RoutingOptions
from tierwise.v1 import decision_pb2, error_class_pb2, model_pb2, routing_input_pb2
from tierwise.v1.routing_input_pb2 import Constraints, RoutingInput

HELLO = ChatRequest(messages=(user("hello"),))
PICTURE = Image(data=b"...", media_type="image/png")
UNKNOWN = 99
"""A value that a newer contract may have."""


def asked(
    request: ChatRequest = HELLO,
    callable_providers: tuple[str, ...] = (),
    **options: Any,  # noqa: ANN401 - of any field
) -> RoutingInput:
    return routing_input(request, RoutingOptions(**options), callable_providers)


# What is asked -----------------------------------------------------------------------------------


def test_a_prompt_alone_says_nothing_else() -> None:
    message = asked()
    message.ClearField("constraints")
    assert message == RoutingInput(prompt="hello")
    assert asked().constraints == Constraints()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"catalog": "c"}, RoutingInput(catalog="c")),
        ({"previous_tier": "t"}, RoutingInput(previous_tier_id="t")),
        ({"priority": Priority.QUALITY}, RoutingInput(priority=routing_input_pb2.PRIORITY_QUALITY)),
        ({"cost_quality_dial": 0.0}, RoutingInput(cost_quality_dial=0.0)),
        ({"rules_only": True}, RoutingInput(rules_only=True)),
        ({"task_tag": "t"}, RoutingInput(task_tag="t")),
        ({"expected_tier": "t"}, RoutingInput(expected_tier_id="t")),
        ({"expected_output_tokens": 0}, RoutingInput(expected_output_token_count=0)),
        ({"language": "de"}, RoutingInput(language="de")),
        ({"caller": "app"}, RoutingInput(caller="app")),
        ({"affinity_key": "k"}, RoutingInput(affinity_key="k")),
        ({"metadata": {"k": "v"}}, RoutingInput(metadata={"k": "v"})),
        ({"keep_nothing": True}, RoutingInput(keep_nothing=True)),
        ({"tier": "t"}, Constraints(pinned_tier_id="t")),
        ({"model": "m"}, Constraints(pinned_model_id="m")),
        ({"lowest_tier": "t"}, Constraints(lowest_tier_id="t")),
        ({"highest_tier": "t"}, Constraints(highest_tier_id="t")),
        (
            {"required_quality": RequiredQuality.HIGH},
            Constraints(required_quality=routing_input_pb2.REQUIRED_QUALITY_HIGH),
        ),
        ({"allowed_providers": ("b", "a")}, Constraints(allowed_provider_ids=["a", "b"])),
        ({"denied_providers": ("a",)}, Constraints(denied_provider_ids=["a"])),
        ({"allowed_models": ("m",)}, Constraints(allowed_model_ids=["m"])),
        ({"denied_models": ("m",)}, Constraints(denied_model_ids=["m"])),
        (
            {"required_capabilities": frozenset({Capability.AUDIO, Capability.TOOLS})},
            Constraints(
                required_capabilities=[model_pb2.CAPABILITY_TOOLS, model_pb2.CAPABILITY_AUDIO]
            ),
        ),
        ({"required_labels": {"a": "b"}}, Constraints(required_labels={"a": "b"})),
        ({"cost_ceiling_nano_usd": 5}, Constraints(cost_ceiling_nano_usd=5)),
        ({"downgrade_allowed": True}, Constraints(downgrade_allowed=True)),
    ],
    ids=lambda one: "-".join(one) if isinstance(one, dict) else "",
)
def test_every_option_has_its_field(
    options: dict[str, Any], expected: RoutingInput | Constraints
) -> None:
    message = asked(**options)
    if isinstance(expected, Constraints):
        assert message.constraints == expected
    else:
        expected.prompt = "hello"
        expected.constraints.SetInParent()
        assert message == expected


def test_the_table_has_every_option() -> None:
    marks = getattr(test_every_option_has_its_field, "pytestmark", [])
    told = {name for row in marks[0].args[1] for name in row[0]}
    assert told == set(RoutingOptions.__dataclass_fields__)


def test_the_output_limit_is_what_is_expected_unless_the_caller_says_otherwise() -> None:
    limited = ChatRequest(messages=HELLO.messages, max_output_tokens=70)
    assert asked(limited).expected_output_token_count == 70
    assert asked(limited, expected_output_tokens=9).expected_output_token_count == 9
    assert not asked().HasField("expected_output_token_count")


def test_a_conversation_keeps_its_turns_and_roles() -> None:
    turns = (system("s"), user("u"), assistant("a"), tool_result("1", "t"), user("v"))
    roles = routing_input_pb2
    message = asked(ChatRequest(messages=turns))
    assert [(one.role, one.text) for one in message.conversation.messages] == [
        (roles.MESSAGE_ROLE_SYSTEM, "s"),
        (roles.MESSAGE_ROLE_USER, "u"),
        (roles.MESSAGE_ROLE_ASSISTANT, "a"),
        (roles.MESSAGE_ROLE_TOOL, "t"),
        (roles.MESSAGE_ROLE_USER, "v"),
    ]
    assert message.WhichOneof("content") == "conversation"


def test_every_role_has_its_number() -> None:
    turns = tuple(Message(role=role, content="x") for role in Role)
    sent = {one.role for one in asked(ChatRequest(messages=turns)).conversation.messages}
    assert sent == set(routing_input_pb2.MessageRole.values()) - {0}


def test_pictures_stay_here_and_are_told() -> None:
    message = asked(ChatRequest(messages=(user("what?", PICTURE),)))
    assert message.prompt == "what?"
    assert list(message.attachment_kinds) == [routing_input_pb2.ATTACHMENT_KIND_IMAGE]
    assert list(message.constraints.required_capabilities) == [model_pb2.CAPABILITY_VISION]


@pytest.mark.parametrize("words", [(), (" \n",)])
def test_a_turn_of_pictures_alone_has_a_text_that_stands_for_them(words: tuple[str, ...]) -> None:
    assert asked(ChatRequest(messages=(user(*words, PICTURE),))).prompt == "[image]"


def test_of_a_very_long_conversation_the_newest_turns_and_the_users_last_are_sent() -> None:
    some = tuple(assistant(str(number)) for number in range(1500))
    message = asked(ChatRequest(messages=(user("first"), user("deciding"), *some)))
    sent = [one.text for one in message.conversation.messages]
    assert len(sent) == 1000
    assert sent[0] == "deciding"
    assert sent[1:] == [str(number) for number in range(501, 1500)]
    message = asked(ChatRequest(messages=(*some, user("deciding"))))
    sent = [one.text for one in message.conversation.messages]
    assert (len(sent), sent[-1]) == (1000, "deciding")


def test_what_the_request_needs_is_required() -> None:
    request = ChatRequest(
        messages=(user("x", PICTURE),),
        tools=(Tool(name="t"),),
        answer_format=JsonSchema(schema={}),
        logprobs=True,
    )
    assert needed_capabilities(request) == {
        Capability.TOOLS, Capability.JSON_SCHEMA, Capability.LOGPROBS, Capability.VISION
    }  # fmt: skip
    message = asked(request, required_capabilities=frozenset({Capability.TOOLS}))
    assert list(message.constraints.required_capabilities) == [
        model_pb2.CAPABILITY_TOOLS,
        model_pb2.CAPABILITY_JSON_SCHEMA,
        model_pb2.CAPABILITY_VISION,
        model_pb2.CAPABILITY_LOGPROBS,
    ]
    assert needed_capabilities(HELLO) == frozenset()


# Which providers may be planned ------------------------------------------------------------------

OWN = ("openai", "vllm")


@pytest.mark.parametrize(
    ("allowed", "denied", "sent"),
    [
        ((), (), ["openai", "vllm"]),
        (("openai", "mistral"), (), ["openai"]),
        ((), ("vllm",), ["openai"]),
        (("openai", "vllm"), ("vllm",), ["openai"]),
    ],
)
def test_only_providers_that_can_be_called_are_planned(
    allowed: tuple[str, ...], denied: tuple[str, ...], sent: list[str]
) -> None:
    message = asked(HELLO, OWN, allowed_providers=allowed, denied_providers=denied)
    assert list(message.constraints.allowed_provider_ids) == sent
    assert list(message.constraints.denied_provider_ids) == list(denied)


@pytest.mark.parametrize(
    ("allowed", "denied"), [(("mistral",), ()), ((), OWN), (("openai",), ("openai",))]
)
def test_an_empty_list_which_means_all_is_never_sent_for_none(
    allowed: tuple[str, ...], denied: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigurationError, match="openai, vllm"):
        asked(HELLO, OWN, allowed_providers=allowed, denied_providers=denied)


# What is answered --------------------------------------------------------------------------------


def step_message(**fields: Any) -> decision_pb2.PlanStep:  # noqa: ANN401 - any field
    values: dict[str, Any] = {
        "model": model_pb2.Model(model_id="m"),
        "kind": decision_pb2.PLAN_STEP_KIND_FIRST,
        "call_timeout": Duration(seconds=2, nanos=500_000_000),
    }
    return decision_pb2.PlanStep(**{**values, **fields})


def planned(*steps: decision_pb2.PlanStep) -> decision_pb2.Decision:
    return decision_pb2.Decision(tier_id="t", plan=decision_pb2.Plan(steps=steps))


def test_a_decision_is_read_whole() -> None:
    model = model_pb2.Model(
        model_id="m",
        provider_id="p",
        upstream_name="m-1",
        tier_id="t",
        price=model_pb2.Price(
            input_nano_usd_per_million=1,
            output_nano_usd_per_million=2,
            cached_input_nano_usd_per_million=0,
            call_nano_usd=4,
        ),
        context_window_token_count=100,
        output_limit_token_count=50,
        capabilities=[model_pb2.CAPABILITY_TOOLS],
        labels={"region": "eu"},
        base_url="https://x.test",
    )
    rule = decision_pb2.RetryRule(error_class=error_class_pb2.ERROR_CLASS_TIMEOUT, retry_limit=2)
    message = decision_pb2.Decision(
        decision_id="d",
        decision_token="secret",  # noqa: S106 - no password
        catalog="c",
        tier_id="t",
        task_id="task",
        kind=decision_pb2.DECISION_KIND_SEMANTIC,
        rule_name="r",
        score=0.0,
        score_threshold=0.4,
        margin=0.0,
        similarity=-0.5,
        confidence=0.0,
        model_id="m",
        estimated_cost_nano_usd=0,
        counterfactual_cost_nano_usd=9,
        baseline_model_id="b",
        catalog_revision="rev",
        reason="because",
        plan=decision_pb2.Plan(
            steps=[step_message(model=model, retry_rules=[rule], estimated_cost_nano_usd=0)],
            worst_case_cost_nano_usd=0,
            estimated_input_token_count=11,
            assumed_output_token_count=12,
        ),
    )
    read = decision_of(message)
    for name in (
        "decision_id", "decision_token", "catalog", "tier_id", "task_id", "rule_name", "score",
        "score_threshold", "margin", "similarity", "confidence", "model_id",
        "estimated_cost_nano_usd", "counterfactual_cost_nano_usd", "baseline_model_id",
        "catalog_revision", "reason",
    ):  # fmt: skip
        value = getattr(read, name)
        assert value is not None
        assert value == getattr(message, name)
    assert read.kind is DecisionKind.SEMANTIC
    assert read.routerless_cause is None
    assert "secret" not in repr(read)
    assert read.plan is not None
    assert (read.plan.worst_case_cost_nano_usd, read.plan.estimated_input_tokens) == (0, 11)
    assert read.plan.assumed_output_tokens == 12
    (step,) = read.plan.steps
    assert (step.kind, step.call_timeout_s, step.estimated_cost_nano_usd) == (
        StepKind.FIRST,
        2.5,
        0,
    )
    assert step.retry_limits == {ErrorClass.TIMEOUT: 2}
    assert step.model.price == Price(
        input_nano_usd_per_million=1,
        output_nano_usd_per_million=2,
        cached_input_nano_usd_per_million=0,
        call_nano_usd=4,
    )
    assert (step.model.model_id, step.model.provider_id, step.model.upstream_name) == (
        "m", "p", "m-1"
    )  # fmt: skip
    assert (step.model.tier_id, step.model.base_url) == ("t", "https://x.test")
    assert (step.model.context_window_tokens, step.model.output_limit_tokens) == (100, 50)
    assert step.model.capabilities == {Capability.TOOLS}
    assert step.model.labels == {"region": "eu"}
    assert read.model is step.model


def test_what_is_absent_is_none_and_not_zero() -> None:
    read = decision_of(planned(step_message()))
    assert (read.score, read.margin, read.similarity, read.confidence) == (None,) * 4
    assert (read.estimated_cost_nano_usd, read.counterfactual_cost_nano_usd) == (None, None)
    assert read.plan is not None
    assert read.plan.worst_case_cost_nano_usd is None
    (step,) = read.plan.steps
    assert (step.model.price, step.estimated_cost_nano_usd) == (None, None)
    priced = model_pb2.Model(price=model_pb2.Price(input_nano_usd_per_million=1))
    again = decision_of(planned(step_message(model=priced))).model
    assert again is not None
    assert again.price is not None
    assert again.price.cached_input_nano_usd_per_million is None


def test_a_catalog_without_models_has_no_plan() -> None:
    read = decision_of(decision_pb2.Decision(tier_id="t"))
    assert (read.plan, read.model, read.model_id) == (None, None, "")


def test_an_unknown_kind_of_decision_is_read_as_default() -> None:
    message = decision_pb2.Decision(kind=UNKNOWN)  # type: ignore[arg-type]
    assert decision_of(message).kind is DecisionKind.DEFAULT


def test_steps_of_an_unknown_kind_are_skipped() -> None:
    late = [error_class_pb2.ERROR_CLASS_TIMEOUT]
    unknown = step_message(kind=UNKNOWN, error_classes=late)
    unspecified = step_message(kind=0, error_classes=late)
    known = step_message(kind=decision_pb2.PLAN_STEP_KIND_ALTERNATE, error_classes=late)
    plan = decision_of(planned(step_message(), unknown, unspecified, known)).plan
    assert plan is not None
    assert [step.kind for step in plan.steps] == [StepKind.FIRST, StepKind.ALTERNATE]


def test_unknown_classes_are_ignored_and_a_step_left_with_none_is_skipped() -> None:
    up = decision_pb2.PLAN_STEP_KIND_ESCALATION
    classes = [UNKNOWN, error_class_pb2.ERROR_CLASS_TIMEOUT]
    some = step_message(kind=up, error_classes=classes)
    none = step_message(kind=up, error_classes=[UNKNOWN])
    plan = decision_of(planned(step_message(), none, some)).plan
    assert plan is not None
    assert [step.error_classes for step in plan.steps] == [
        frozenset(),
        frozenset({ErrorClass.TIMEOUT}),
    ]


def test_unknown_retry_rules_and_capabilities_are_ignored() -> None:
    rules = [decision_pb2.RetryRule(error_class=UNKNOWN, retry_limit=9)]  # type: ignore[arg-type]
    model = model_pb2.Model(capabilities=[UNKNOWN, model_pb2.CAPABILITY_VISION])  # type: ignore[list-item]
    plan = decision_of(planned(step_message(model=model, retry_rules=rules))).plan
    assert plan is not None
    assert plan.steps[0].retry_limits == {}
    assert plan.steps[0].model.capabilities == {Capability.VISION}


def test_a_text_beyond_the_contract_goes_out_by_its_ends() -> None:
    text = "head " + "x" * 1_200_000 + " tail"
    message = routing_input(ChatRequest(messages=(user(text),)), RoutingOptions(), ())
    assert len(message.prompt) == 1_000_000
    assert message.prompt.startswith("head ")
    assert message.prompt.endswith(" tail")
    assert message.input_token_count == len(text) // 4


def test_a_conversation_beyond_the_contract_keeps_something_of_every_turn() -> None:
    turns = (user("x" * 700_000), assistant("y" * 700_000), user("and now?"))
    message = routing_input(ChatRequest(messages=turns), RoutingOptions(), ())
    texts = [one.text for one in message.conversation.messages]
    assert sum(map(len, texts)) <= 1_000_000
    assert texts[-1] == "and now?"
    assert all(texts)
    assert message.input_token_count == 2 * 700_000 // 4 + 2


def test_tokens_that_the_router_is_not_shown_are_counted_for_it() -> None:
    tool = Tool(name="look", description="z" * 400)
    with_tool = ChatRequest(messages=(user("hello"),), tools=(tool,))
    assert routing_input(with_tool, RoutingOptions(), ()).input_token_count >= 100
    without = ChatRequest(messages=(user("hello"),))
    assert not routing_input(without, RoutingOptions(), ()).HasField("input_token_count")
