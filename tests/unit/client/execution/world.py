"""A session in a made-up world: models that answer as they are told, a clock that tests move.

Adapters, registry and scripts are the real ones. Only what the scripts ask to have done is made up
here: nothing is sent, and waiting takes no time.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import grpc

from tierwise.answers import Delta
from tierwise.chat_response import ChatResponse
from tierwise.decisions import Capability, Decision, Model, Plan, PlanStep, Price, StepKind
from tierwise.error_class import ErrorClass
from tierwise.errors import ChatError, ProviderError, RouterError
from tierwise.execution.breaker import Breakers
from tierwise.execution.chat import chat
from tierwise.execution.effects import (
    AskRouter,
    Check,
    Close,
    Emit,
    Open,
    Read,
    Script,
    Send,
    Sleep,
    StreamHead,
    Work,
)
from tierwise.execution.escalations import EscalationGuard
from tierwise.execution.outage import Outage
from tierwise.execution.routerless import Routerless
from tierwise.execution.session import Session
from tierwise.hooks import AttemptEvent, Hooks, OutcomeEvent, RouterOutageEvent
from tierwise.messages import ChatRequest, user
from tierwise.providers.base import HttpReply, StreamEvent
from tierwise.providers.registry import ProviderRegistry, ProviderSettings
from tierwise.reporting.outcome import Outcome
from tierwise.routing import RoutingOptions
from tierwise.settings import ClientSettings
from tierwise.v1 import decision_pb2, error_class_pb2, model_pb2
from tierwise.v1.routing_service_pb2 import RoutePromptResponse
from tierwise.validators import Validator

T = TypeVar("T")

FIRST, ALTERNATE, ESCALATION = StepKind.FIRST, StepKind.ALTERNATE, StepKind.ESCALATION

TRANSIENT = (
    ErrorClass.RATE_LIMITED,
    ErrorClass.TIMEOUT,
    ErrorClass.OVERLOADED,
    ErrorClass.SERVER_ERROR,
    ErrorClass.CONNECTION,
)
RETRIES: Mapping[ErrorClass, int] = {
    **dict.fromkeys(TRANSIENT, 2),
    ErrorClass.MALFORMED_RESPONSE: 1,
}
"""What the router sends with each step."""

ANY = frozenset(ErrorClass)

PRICE = Price(input_nano_usd_per_million=1_000_000_000, output_nano_usd_per_million=2_000_000_000)
"""A dollar, and two, for a million tokens."""

ANSWER_COST = 20_000
"""Of ten tokens of input and five of output at that price, in nano-dollars."""

PROVIDERS = ("alpha", "beta", "gamma")


def model(model_id: str, provider: str = "alpha", **fields: Any) -> Model:  # noqa: ANN401 - any field
    """Returns a model that can do everything."""
    values: dict[str, Any] = {
        "upstream_name": model_id,
        "tier_id": "budget",
        "price": PRICE,
        "context_window_tokens": 100_000,
        "capabilities": frozenset(Capability),
    }
    return Model(model_id=model_id, provider_id=provider, **{**values, **fields})


def first(one: Model, **fields: Any) -> PlanStep:  # noqa: ANN401 - any field
    values: dict[str, Any] = {"retry_limits": RETRIES, "estimated_cost_nano_usd": 1000}
    return PlanStep(model=one, **{**values, **fields})


def alternate(one: Model, **fields: Any) -> PlanStep:  # noqa: ANN401 - any field
    return first(one, **{"kind": ALTERNATE, "error_classes": ANY, **fields})


def escalation(one: Model, **fields: Any) -> PlanStep:  # noqa: ANN401 - any field
    """Returns a step to a model that is put into the next tier, if it is in that of the first."""
    if one.tier_id == "budget":
        one = replace(one, tier_id="premium")
    return first(one, **{"kind": ESCALATION, "error_classes": ANY, **fields})


def decided(*steps: PlanStep, **fields: Any) -> Decision:  # noqa: ANN401 - any field
    """Returns a decision for the first step's model."""
    plan = Plan(steps=steps, estimated_input_tokens=fields.pop("input_tokens", 10))
    values: dict[str, Any] = {
        "decision_id": "d",
        "decision_token": "token",
        "tier_id": steps[0].model.tier_id,
        "model_id": steps[0].model.model_id,
        "plan": plan,
    }
    return Decision(**{**values, **fields})


# What models do ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What comes of one call: a whole reply, a failure, or a stream of pieces."""

    whole: HttpReply | None = None
    failure: Callable[[], ProviderError] | None = None
    pieces: tuple[object, ...] = ()
    """Of a stream: text, `PING`, `END`, a failure's class, or seconds that pass."""
    took_s: float = 0.0


PING, END = object(), object()


def says(
    text: str, *, usage: tuple[int, int] | None = (10, 5), logprob: float | None = None,
    took_s: float = 0.0, model: str = "",
) -> Reply:  # fmt: skip
    choice: dict[str, Any] = {
        "index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}
    }  # fmt: skip
    if logprob is not None:
        choice["logprobs"] = {"content": [{"token": text, "logprob": logprob}]}
    body: dict[str, Any] = {"choices": [choice], "model": model}
    if usage is not None:
        body["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
    content = json.dumps(body).encode()
    return Reply(whole=HttpReply(status=200, headers={}, content=content), took_s=took_s)


def fails(error_class: ErrorClass, *, took_s: float = 0.0, **fields: Any) -> Reply:  # noqa: ANN401 - any field
    """Returns a failure; unless said otherwise, one that the provider refused and bills nothing."""
    values = {"status_code": 503, **fields}
    return Reply(
        failure=lambda: ProviderError("it failed", error_class=error_class, **values),
        took_s=took_s,
    )


def streams(*pieces: object, took_s: float = 0.0) -> Reply:
    return Reply(pieces=pieces, took_s=took_s)


def _chunk(text: str) -> StreamEvent:
    return StreamEvent(data=json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}))


_PING = StreamEvent(data=json.dumps({"choices": []}))
_END = (
    StreamEvent(
        data=json.dumps(
            {
                "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 10, "completion_tokens": 5},
            }
        )
    ),
    StreamEvent(data="[DONE]"),
)


# What the router does ----------------------------------------------------------------------------


def decision_message(decision: Decision) -> decision_pb2.Decision:
    """Returns a decision as the router sends it."""
    message = decision_pb2.Decision(
        decision_id=decision.decision_id,
        decision_token=decision.decision_token,
        tier_id=decision.tier_id,
        model_id=decision.model_id,
        kind=decision_pb2.DecisionKind.ValueType(decision.kind),
        estimated_cost_nano_usd=decision.estimated_cost_nano_usd,
    )
    if decision.plan is not None:
        message.plan.estimated_input_token_count = decision.plan.estimated_input_tokens
        message.plan.assumed_output_token_count = decision.plan.assumed_output_tokens
        message.plan.steps.extend(_step_message(step) for step in decision.plan.steps)
    return message


def _step_message(step: PlanStep) -> decision_pb2.PlanStep:
    message = decision_pb2.PlanStep(
        model=_model_message(step.model),
        kind=decision_pb2.PlanStepKind.ValueType(step.kind),
        error_classes=[error_class_pb2.ErrorClass.ValueType(one) for one in step.error_classes],
        retry_rules=[
            decision_pb2.RetryRule(
                error_class=error_class_pb2.ErrorClass.ValueType(one), retry_limit=limit
            )
            for one, limit in step.retry_limits.items()
        ],
        estimated_cost_nano_usd=step.estimated_cost_nano_usd,
    )
    message.call_timeout.FromNanoseconds(round(step.call_timeout_s * 1e9))
    return message


def _model_message(one: Model) -> model_pb2.Model:
    price = one.price
    return model_pb2.Model(
        model_id=one.model_id,
        provider_id=one.provider_id,
        upstream_name=one.upstream_name,
        tier_id=one.tier_id,
        price=None
        if price is None
        else model_pb2.Price(
            input_nano_usd_per_million=price.input_nano_usd_per_million,
            output_nano_usd_per_million=price.output_nano_usd_per_million,
            cached_input_nano_usd_per_million=price.cached_input_nano_usd_per_million,
            call_nano_usd=price.call_nano_usd,
        ),
        context_window_token_count=one.context_window_tokens,
        output_limit_token_count=one.output_limit_tokens,
        capabilities=[model_pb2.Capability.ValueType(ability) for ability in one.capabilities],
        labels=one.labels,
        base_url=one.base_url,
    )


def router_fails(code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> RouterError:
    return RouterError("no router", code=code)


# The world ---------------------------------------------------------------------------------------


class Interrupted(Exception):  # noqa: N818 - no error
    """The caller gave up where the test said."""


@dataclass
class World:
    """One client's session, and everything around it."""

    settings: ClientSettings = field(default_factory=ClientSettings)
    draw: Callable[[], float] = lambda: 0.5
    providers: Mapping[str, ProviderSettings] = field(
        default_factory=lambda: {
            one: ProviderSettings(base_url=f"https://{one}.test/v1", key=f"key-of-{one}")
            for one in PROVIDERS
        }
    )
    now: float = 1000.0
    oversleeps_s: float = 0.0
    """How much longer than asked every wait takes."""
    log: list[str] = field(default_factory=list)
    """What was done, in order."""
    slept: list[float] = field(default_factory=list)
    timeouts: list[float] = field(default_factory=list)
    """Time limits of calls."""
    emitted: list[Delta] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    attempts: list[AttemptEvent] = field(default_factory=list)
    ends: list[OutcomeEvent] = field(default_factory=list)
    outages: list[RouterOutageEvent] = field(default_factory=list)
    effects: int = 0
    """How much the last script has asked for."""

    def __post_init__(self) -> None:
        """Makes the session; hooks are recorded unless the test has its own."""
        if self.settings.hooks == Hooks():
            hooks = Hooks(
                on_attempt=self.attempts.append,
                on_outcome=self.ends.append,
                on_router_outage=self.outages.append,
            )
            self.settings = replace(self.settings, hooks=hooks)
        self._told: dict[str, list[Reply]] = {}
        self._router: list[Decision | RouterError] = []
        self._router_took_s = 0.0
        self._stream: Iterator[StreamEvent] = iter(())
        self.session = Session(
            settings=self.settings,
            providers=ProviderRegistry(self.providers),
            breakers=Breakers(self._clock),
            guard=EscalationGuard(self.settings.budget, self._clock),
            routerless=Routerless(self.settings.routerless),
            outage=Outage(self.settings.hooks, self._clock),
            report=self.outcomes.append,
            clock=self._clock,
            draw=self.draw,
        )

    def _clock(self) -> float:
        return self.now

    # Telling it what will happen

    def will(self, model_id: str, *replies: Reply) -> None:
        """Says what a model does, call by call; the last one goes on for ever."""
        self._told[model_id] = list(replies)

    def routes(self, *decisions: Decision | RouterError, took_s: float = 0.0) -> None:
        """Says what the router does, call by call; the last one goes on for ever."""
        self._router, self._router_took_s = list(decisions), took_s

    def plans(self, *steps: PlanStep) -> None:
        """Says what the router plans."""
        self.routes(decided(*steps))

    # Having it happen

    def chat(
        self,
        prompt: str | ChatRequest = "hello",
        *,
        validators: Sequence[Validator] = (),
        stream: bool = False,
        interrupt_at: int | None = None,
        interrupt_with: BaseException | None = None,
        **options: Any,  # noqa: ANN401 - of any field
    ) -> ChatResponse:
        """Has a model answer."""
        request = ChatRequest(messages=(user(prompt),)) if isinstance(prompt, str) else prompt
        script = chat(
            self.session, request, RoutingOptions(**options), tuple(validators), stream=stream
        )
        return self.run(script, interrupt_at, interrupt_with)

    def failed_chat(self, *arguments: Any, **fields: Any) -> ChatError:  # noqa: ANN401 - passed on
        """Returns the error of a chat, which must fail."""
        try:
            response = self.chat(*arguments, **fields)
        except ChatError as error:
            return error
        raise AssertionError(f"it was answered: {response.text}")

    @property
    def called(self) -> list[str]:
        """Models that were called, in order."""
        return [line.partition(" ")[2] for line in self.log if line.startswith("call ")]

    @property
    def asked_router(self) -> int:
        """How often the router was asked."""
        return self.log.count("ask")

    def run(
        self,
        script: Script[T],
        interrupt_at: int | None = None,
        interrupt_with: BaseException | None = None,
    ) -> T:
        """Does what a script asks for, up to where the caller gives up, counted from 1."""
        self.effects = 0
        value: object = None
        error: BaseException | None = None
        while True:
            try:
                effect = script.send(value) if error is None else script.throw(error)
            except StopIteration as stop:
                result: T = stop.value
                return result
            self.effects += 1
            value, error = None, None
            if self.effects == interrupt_at:
                if interrupt_with is None:
                    script.close()
                    raise Interrupted
                error = interrupt_with
            elif isinstance(effect, Emit):
                self.log.append("emit")
                self.emitted.append(effect.delta)
            else:
                try:
                    value = self._perform(effect)
                except BaseException as failure:  # noqa: BLE001 - the script decides what it means
                    error = failure

    def _perform(self, effect: Work) -> object:
        match effect:
            case AskRouter():
                return self._ask()
            case Send() | Open():
                return self._call(effect)
            case Read(timeout_s):
                self.log.append("read")
                return self._read(timeout_s)
            case Close():
                self.log.append("close")
            case Sleep(seconds):
                self.log.append("sleep")
                self.slept.append(seconds)
                self.now += seconds + self.oversleeps_s
            case Check(function, answer):
                verdict = function(answer)
                if inspect.isawaitable(verdict):
                    return asyncio.run(_awaited(verdict))
                return verdict
        return None

    def _ask(self) -> RoutePromptResponse:
        self.log.append("ask")
        self.now += self._router_took_s
        does = self._router[0] if len(self._router) == 1 else self._router.pop(0)
        if isinstance(does, RouterError):
            raise does
        return RoutePromptResponse(decision=decision_message(does))

    def _call(self, effect: Send | Open) -> object:
        model_id = json.loads(effect.post.content)["model"]
        self.log.append(f"call {model_id}")
        self.timeouts.append(effect.timeout_s)
        told = self._told[model_id]
        reply = told[0] if len(told) == 1 else told.pop(0)
        if reply.took_s > effect.timeout_s:
            self.now += effect.timeout_s
            raise ProviderError("no answer in time", error_class=ErrorClass.TIMEOUT)
        self.now += reply.took_s
        if reply.failure is not None:
            raise reply.failure()
        if reply.whole is not None:
            return reply.whole
        self._stream = self._events(reply.pieces)
        return StreamHead(headers={})

    def _read(self, timeout_s: float) -> StreamEvent | None:
        end = self.now + timeout_s
        event = next(self._stream, None)
        if self.now > end:
            self.now = end
            raise ProviderError("no event in time", error_class=ErrorClass.TIMEOUT)
        return event

    def _events(self, pieces: tuple[object, ...]) -> Iterator[StreamEvent]:
        for piece in pieces:
            if piece is END:
                yield from _END
            elif piece is PING:
                yield _PING
            elif isinstance(piece, str):
                yield _chunk(piece)
            elif isinstance(piece, ErrorClass):
                raise ProviderError("the stream broke", error_class=piece)
            else:
                assert isinstance(piece, float)
                self.now += piece


async def _awaited(verdict: Any) -> object:  # noqa: ANN401 - of any check
    result: object = await verdict
    return result


def ladder() -> World:
    """Returns a world whose plan has a model, an alternate of another provider, and a step up."""
    world = World()
    world.plans(
        first(model("one", "alpha")),
        alternate(model("two", "beta")),
        escalation(model("three", "gamma")),
    )
    for name in ("one", "two", "three"):
        world.will(name, says(f"from {name}"))
    return world
