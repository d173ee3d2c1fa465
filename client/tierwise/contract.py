"""Between this library's types and the messages of `tierwise.v1`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message as ProtobufMessage

from tierwise import decisions, tokens
from tierwise.error_class import ErrorClass
from tierwise.errors import ConfigurationError
from tierwise.messages import ChatRequest, Image, JsonSchema, Message, Role
from tierwise.routing import RoutingOptions
from tierwise.v1 import decision_pb2, model_pb2, routing_input_pb2

_ROLES = {
    Role.SYSTEM: routing_input_pb2.MESSAGE_ROLE_SYSTEM,
    Role.USER: routing_input_pb2.MESSAGE_ROLE_USER,
    Role.ASSISTANT: routing_input_pb2.MESSAGE_ROLE_ASSISTANT,
    Role.TOOL: routing_input_pb2.MESSAGE_ROLE_TOOL,
}
_TEXTLESS_TURN = "[image]"
"""Stands for a user's turn that has pictures and no words: the contract wants some text of it."""

_KINDS = {kind.value: kind for kind in decisions.DecisionKind}
_STEP_KINDS = {kind.value: kind for kind in decisions.StepKind}
_ERROR_CLASSES = {one.value: one for one in ErrorClass}
_CAPABILITIES = {one.value: one for one in decisions.Capability}
_MAX_TURNS = 1000
"""Most turns that the contract takes."""
_MAX_CHARACTERS = 1_000_000
"""Most characters that it takes, of all turns together."""


def needed_capabilities(request: ChatRequest) -> frozenset[decisions.Capability]:
    """Returns what a model must be able to do for this request, whatever the caller says."""
    needed = set()
    if request.tools:
        needed.add(decisions.Capability.TOOLS)
    if isinstance(request.answer_format, JsonSchema):
        needed.add(decisions.Capability.JSON_SCHEMA)
    if request.logprobs:
        needed.add(decisions.Capability.LOGPROBS)
    if any(isinstance(part, Image) for message in request.messages for part in message.parts):
        needed.add(decisions.Capability.VISION)
    return frozenset(needed)


def routing_input(
    request: ChatRequest, options: RoutingOptions, callable_providers: Iterable[str]
) -> routing_input_pb2.RoutingInput:
    """Returns what the router is asked.

    Args:
        request: The chat.
        options: The caller's limits and wishes.
        callable_providers: Providers that this client can call. Empty where that does not matter.

    Raises:
        ConfigurationError: None of those that can be called may be used.
    """
    message = routing_input_pb2.RoutingInput(
        catalog=options.catalog,
        previous_tier_id=options.previous_tier,
        rules_only=options.rules_only,
        task_tag=options.task_tag,
        expected_tier_id=options.expected_tier,
        language=options.language,
        caller=options.caller,
        affinity_key=options.affinity_key,
        metadata=options.metadata,
        keep_nothing=options.keep_nothing,
    )
    shown = _fill_text(message, request)
    if tokens.unshown_tokens(request) or not shown:
        message.input_token_count = tokens.input_tokens(request)
    _fill_constraints(message.constraints, options, request, callable_providers)
    if options.priority is not None:
        message.priority = routing_input_pb2.Priority.ValueType(options.priority)
    if options.cost_quality_dial is not None:
        message.cost_quality_dial = options.cost_quality_dial
    expected = options.expected_output_tokens
    if expected is None:
        expected = request.max_output_tokens
    if expected is not None:
        message.expected_output_token_count = expected
    if decisions.Capability.VISION in needed_capabilities(request):
        message.attachment_kinds.append(routing_input_pb2.ATTACHMENT_KIND_IMAGE)
    return message


def _fill_text(message: routing_input_pb2.RoutingInput, request: ChatRequest) -> bool:
    """Fills in as much of the text as the contract takes; returns whether that is all of it."""
    turns = request.messages
    if len(turns) == 1 and turns[0].role is Role.USER:
        message.prompt = _ends(_text_of(turns[0]), _MAX_CHARACTERS)
        return len(message.prompt) == len(_text_of(turns[0]))
    newest = _newest(turns)
    left = _MAX_CHARACTERS
    texts: list[str] = []
    for turn in reversed(newest):
        # What decides is the user's last turn; of turns before it, each gets at most half of what
        # is left, so that there is something of every one.
        text = _ends(_text_of(turn), left // 2)
        texts.append(text)
        left -= len(text)
    for turn, text in zip(newest, reversed(texts), strict=True):
        message.conversation.messages.add(role=_ROLES[turn.role], text=text)
    return len(newest) == len(turns) and sum(map(len, texts)) == sum(
        len(_text_of(turn)) for turn in turns
    )


def _ends(text: str, limit: int) -> str:
    """Returns a text without its middle, where it is longer than the limit."""
    if len(text) <= limit:
        return text
    head = limit // 2
    return text[:head] + text[len(text) - (limit - head) :]


def _newest(turns: tuple[Message, ...]) -> tuple[Message, ...]:
    """Returns as many turns as the contract takes, the user's last one, which decides, included."""
    newest = turns[-_MAX_TURNS:]
    if len(newest) == len(turns) or any(turn.role is Role.USER for turn in newest):
        return newest
    deciding = [turn for turn in turns if turn.role is Role.USER][-1:]
    return (*deciding, *newest[len(deciding) :])


def _text_of(message: Message) -> str:
    text = message.text
    if not text.strip() and message.role is Role.USER:
        return _TEXTLESS_TURN
    return text


def _fill_constraints(
    limits: routing_input_pb2.Constraints,
    options: RoutingOptions,
    request: ChatRequest,
    callable_providers: Iterable[str],
) -> None:
    if options.tier:
        limits.pinned_tier_id = options.tier
    if options.model:
        limits.pinned_model_id = options.model
    limits.lowest_tier_id = options.lowest_tier
    limits.highest_tier_id = options.highest_tier
    if options.required_quality is not None:
        limits.required_quality = routing_input_pb2.RequiredQuality.ValueType(
            options.required_quality
        )
    limits.allowed_provider_ids.extend(_allowed_providers(options, callable_providers))
    limits.denied_provider_ids.extend(options.denied_providers)
    limits.allowed_model_ids.extend(options.allowed_models)
    limits.denied_model_ids.extend(options.denied_models)
    needed = options.required_capabilities | needed_capabilities(request)
    limits.required_capabilities.extend(
        model_pb2.Capability.ValueType(one) for one in sorted(needed)
    )
    limits.required_labels.update(options.required_labels)
    if options.cost_ceiling_nano_usd is not None:
        limits.cost_ceiling_nano_usd = options.cost_ceiling_nano_usd
    limits.downgrade_allowed = options.downgrade_allowed


def _allowed_providers(options: RoutingOptions, callable_providers: Iterable[str]) -> list[str]:
    """Returns the providers that may be planned: of those with a key, the ones that are allowed.

    Raises:
        ConfigurationError: There is none. An empty list would mean all of them.
    """
    allowed, own = set(options.allowed_providers), set(callable_providers)
    if not own:
        return sorted(allowed)
    usable = (own & allowed if allowed else own) - set(options.denied_providers)
    if not usable:
        raise ConfigurationError(
            "no provider that may be used can be called: there are keys for"
            f" {', '.join(sorted(own))}; allowed are {', '.join(sorted(allowed)) or 'all'};"
            f" denied are {', '.join(sorted(set(options.denied_providers))) or 'none'}"
        )
    return sorted(usable)


def decision_of(message: decision_pb2.Decision) -> decisions.Decision:
    """Returns a decision of the router, values of newer contracts read as the contract says."""
    return decisions.Decision(
        decision_id=message.decision_id,
        decision_token=message.decision_token,
        catalog=message.catalog,
        tier_id=message.tier_id,
        task_id=message.task_id,
        kind=_KINDS.get(message.kind, decisions.DecisionKind.DEFAULT),
        rule_name=message.rule_name,
        score=_present(message, "score"),
        score_threshold=_present(message, "score_threshold"),
        margin=_present(message, "margin"),
        similarity=_present(message, "similarity"),
        confidence=_present(message, "confidence"),
        model_id=message.model_id,
        plan=_plan_of(message.plan) if message.HasField("plan") else None,
        estimated_cost_nano_usd=_present(message, "estimated_cost_nano_usd"),
        counterfactual_cost_nano_usd=_present(message, "counterfactual_cost_nano_usd"),
        baseline_model_id=message.baseline_model_id,
        catalog_revision=message.catalog_revision,
        reason=message.reason,
    )


def _present(message: ProtobufMessage, name: str) -> Any:  # noqa: ANN401 - of the field's type
    """Returns a field's value; None when it is absent."""
    return getattr(message, name) if message.HasField(name) else None


def _plan_of(message: decision_pb2.Plan) -> decisions.Plan | None:
    steps = tuple(step for one in message.steps if (step := _step_of(one)) is not None)
    if not steps:
        return None
    return decisions.Plan(
        steps=steps,
        worst_case_cost_nano_usd=_present(message, "worst_case_cost_nano_usd"),
        estimated_input_tokens=message.estimated_input_token_count,
        assumed_output_tokens=message.assumed_output_token_count,
    )


def _step_of(message: decision_pb2.PlanStep) -> decisions.PlanStep | None:
    """Returns a step; None where the contract says to skip one that is not understood."""
    kind = _STEP_KINDS.get(message.kind)
    classes = frozenset(
        _ERROR_CLASSES[one] for one in message.error_classes if one in _ERROR_CLASSES
    )
    if kind is None or (kind is not decisions.StepKind.FIRST and not classes):
        return None
    return decisions.PlanStep(
        model=_model_of(message.model),
        kind=kind,
        error_classes=classes,
        retry_limits={
            _ERROR_CLASSES[rule.error_class]: rule.retry_limit
            for rule in message.retry_rules
            if rule.error_class in _ERROR_CLASSES
        },
        call_timeout_s=_seconds(message.call_timeout) or decisions.CALL_TIMEOUT_S,
        estimated_cost_nano_usd=_present(message, "estimated_cost_nano_usd"),
    )


def _model_of(message: model_pb2.Model) -> decisions.Model:
    return decisions.Model(
        model_id=message.model_id,
        provider_id=message.provider_id,
        upstream_name=message.upstream_name,
        tier_id=message.tier_id,
        price=_price_of(message.price) if message.HasField("price") else None,
        context_window_tokens=message.context_window_token_count,
        output_limit_tokens=message.output_limit_token_count,
        capabilities=frozenset(
            _CAPABILITIES[one] for one in message.capabilities if one in _CAPABILITIES
        ),
        labels=dict(message.labels),
        base_url=message.base_url,
    )


def _price_of(message: model_pb2.Price) -> decisions.Price:
    return decisions.Price(
        input_nano_usd_per_million=message.input_nano_usd_per_million,
        output_nano_usd_per_million=message.output_nano_usd_per_million,
        cached_input_nano_usd_per_million=_present(message, "cached_input_nano_usd_per_million"),
        cache_write_nano_usd_per_million=_present(message, "cache_write_nano_usd_per_million"),
        call_nano_usd=message.call_nano_usd,
    )


def _seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9
