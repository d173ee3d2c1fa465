"""A chat from its beginning to its report."""

from __future__ import annotations

from datetime import UTC, datetime

from tierwise.chat_response import Attempt, ChatResponse, total_cost
from tierwise.contract import decision_of, routing_input
from tierwise.decisions import Decision
from tierwise.errors import ConfigurationError, InvalidRequestError, RouterError
from tierwise.execution.chooser import Asked
from tierwise.execution.effects import Script, ask_router
from tierwise.execution.limits import input_tokens
from tierwise.execution.outage import routerless_cause
from tierwise.execution.run import PlanRun
from tierwise.execution.session import Session
from tierwise.hooks import OutcomeEvent, notify
from tierwise.messages import ChatRequest
from tierwise.reporting.outcome import Outcome, new_outcome_id
from tierwise.request_checks import check_request
from tierwise.routing import RoutingOptions
from tierwise.v1.error_reason_pb2 import ErrorReason
from tierwise.v1.routing_service_pb2 import RoutePromptRequest
from tierwise.validators import Validator

COLD_TIMEOUT_S = 5.0
"""How long the router is waited for while there is nothing to go by without it."""


def decide(
    session: Session, request: ChatRequest, options: RoutingOptions, timeout_s: float
) -> Script[Decision]:
    """Returns the router's decision, or one without it when it does not answer.

    Raises:
        InvalidRequestError: The request is wrong in itself. Nothing was sent.
        RouterError: The router refused the request.
        ConfigurationError: No provider that may be used has a key, or the router is away and
            nothing is known to call.
    """
    check_request(request)
    routerless, outage = session.routerless, session.outage
    asked_s, error = 0.0, None
    if outage.should_ask():
        asked_s = timeout_s if routerless.is_prepared else max(timeout_s, COLD_TIMEOUT_S)
        answer = yield from _asked(session, request, options, asked_s)
        if isinstance(answer, Decision):
            return answer
        error = answer
    own = routerless.decide(request, options, outage.cause)
    if own is None and asked_s < COLD_TIMEOUT_S:
        # There is nothing to go by for such a request, so the router is worth waiting for.
        answer = yield from _asked(session, request, options, COLD_TIMEOUT_S)
        if isinstance(answer, Decision):
            return answer
        error = answer
    if own is None:
        raise ConfigurationError(
            f"no router answers at the moment ({error}), and no plan or model is known that keeps"
            " the request's limits; name models with"
            " ClientSettings(routerless=RouterlessDefaults(models=...))"
        ) from error
    outage.decided_without()
    return own


def _asked(
    session: Session, request: ChatRequest, options: RoutingOptions, timeout_s: float
) -> Script[Decision | RouterError]:
    """Returns the router's decision, or the failure that a chat goes on after.

    Raises:
        RouterError: It refused the request.
        ConfigurationError: No provider that may be used has a key.
    """
    message = routing_input(request, options, session.providers.callable_ids())
    asking = ask_router(RoutePromptRequest(input=message), timeout_s)
    if session.tracing is not None:
        asking = session.tracing.route(asking, options)
    try:
        response = yield from asking
    except RouterError as failure:
        cause = routerless_cause(failure)
        if cause is None:
            raise _advised(failure, session, options) from failure.__cause__
        session.outage.failed(cause)
        return failure
    decision = decision_of(response.decision)
    session.outage.answered()
    session.routerless.remember(options, decision)
    return decision


def _advised(error: RouterError, session: Session, options: RoutingOptions) -> RouterError:
    """Returns a refusal with what the caller may do about it, where keys may be the reason."""
    if error.reason != ErrorReason.ERROR_REASON_NO_MODEL_QUALIFIES or options.allowed_providers:
        return error
    return RouterError(
        str(error),
        code=error.code,
        reason=error.reason,
        metadata=error.metadata,
        details=(*error.details, session.providers.advice()),
    )


def chat(
    session: Session,
    request: ChatRequest,
    options: RoutingOptions,
    validators: tuple[Validator, ...] = (),
    *,
    stream: bool = False,
) -> Script[ChatResponse]:
    """Has a model answer, and reports what became of it.

    Raises:
        InvalidRequestError: The request is wrong in itself. Nothing was sent.
        ConfigurationError: There is nothing to call it with.
        RouterError: The router refused it.
        ChatError: No model answered.
    """
    script = _chat(session, request, options, validators, stream=stream)
    return script if session.tracing is None else session.tracing.chat(script, options)


def _chat(
    session: Session,
    request: ChatRequest,
    options: RoutingOptions,
    validators: tuple[Validator, ...],
    *,
    stream: bool,
) -> Script[ChatResponse]:
    if any(one.needs_logprobs for one in validators) and not request.logprobs:
        raise InvalidRequestError("a validator needs them: ask for logprobs", field="logprobs")
    if not (options.allowed_providers or session.providers.callable_ids()):
        raise ConfigurationError(session.providers.advice())
    began = session.clock()
    session.guard.chat_begins()
    decision = yield from decide(session, request, options, session.settings.router_timeout_s)
    if decision.plan is None:
        raise ConfigurationError(
            f"the router decided for tier {decision.tier_id}, but its catalog"
            f" {decision.catalog or 'in service'!r} has no models to call: add a models.yaml"
        )
    asked = Asked(
        request=request,
        options=options,
        stream=stream,
        input_tokens=input_tokens(request, decision.plan, routed=decision.routerless_cause is None),
    )
    deadline = began + session.settings.chat_timeout_s
    run = PlanRun(session, asked, decision, decision.plan, deadline)
    outcome_id = new_outcome_id()
    try:
        answer = yield from run.follow(validators)
    finally:
        # Also when the caller gives up in the middle: what was spent is spent.
        _conclude(session, options, decision, run.attempts, outcome_id, began)
    return ChatResponse(
        answer=answer, decision=decision, attempts=run.attempts, outcome_id=outcome_id
    )


def _conclude(
    session: Session,
    options: RoutingOptions,
    decision: Decision,
    attempts: tuple[Attempt, ...],
    outcome_id: str,
    began: float,
) -> None:
    """Reports what became of a decision, and tells the caller's hook."""
    if not attempts:
        return
    session.report(
        Outcome(
            outcome_id=outcome_id,
            decision=decision,
            attempts=attempts,
            end_time=datetime.now(UTC),
            caller=options.caller,
        )
    )
    event = OutcomeEvent(
        decision=decision,
        attempts=attempts,
        first_model_id=decision.model_id,
        last_model_id=attempts[-1].model_id,
        error_class=attempts[-1].error_class,
        cost_nano_usd=total_cost(attempts),
        duration_s=session.clock() - began,
    )
    notify(session.settings.hooks.on_outcome, event)
