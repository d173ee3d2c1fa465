"""Calls one model through the client library: its adapters, transport and retries, no router.

Every attempt waits its turn within the model's limits, and sets aside the most that it can cost.
The waiting is not part of the measured latency.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from tierwise.answers import Answer, FinishReason
from tierwise.budget import Budget
from tierwise.chat_response import Attempt
from tierwise.decisions import Decision, Plan, PlanStep
from tierwise.error_class import ErrorClass
from tierwise.errors import ChatError, ConfigurationError, InvalidRequestError
from tierwise.execution.breaker import Breakers
from tierwise.execution.chooser import Asked
from tierwise.execution.effects import Script, Send, Sleep
from tierwise.execution.escalations import EscalationGuard
from tierwise.execution.outage import Outage
from tierwise.execution.routerless import Routerless
from tierwise.execution.run import PlanRun
from tierwise.execution.session import Session
from tierwise.hooks import Hooks
from tierwise.messages import ChatRequest, system, user
from tierwise.providers.registry import ProviderRegistry
from tierwise.routing import RoutingOptions
from tierwise.settings import ClientSettings, RouterlessDefaults
from tierwise.transport import AsyncTransport
from tierwise_server.benching.models import BenchModel
from tierwise_server.benching.pacing import Pacer, Slot
from tierwise_server.benching.purse import CapReachedError, Purse

T = TypeVar("T")

RETRIES: Final[Mapping[ErrorClass, int]] = {
    ErrorClass.RATE_LIMITED: 6,
    ErrorClass.OVERLOADED: 4,
    ErrorClass.SERVER_ERROR: 3,
    ErrorClass.CONNECTION: 3,
    ErrorClass.TIMEOUT: 1,
    ErrorClass.MALFORMED_RESPONSE: 1,
}
"""How often a model is called again. A benchmark has time, and no other model to go to."""

CAP_REACHED: Final = "cap-reached"
"""Error of a call whose further attempts the cap does not pay for."""

_DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CallText:
    """What a model is asked."""

    system: str = ""
    prompt: str
    max_output_tokens: int
    temperature: float | None = None

    @property
    def whole(self) -> str:
        """All text that is sent."""
        return f"{self.system}\n{self.prompt}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallResult:
    """What came of a call, all its attempts counted."""

    text: str | None
    """None when it failed."""
    error: str = ""
    """Class of the failure in words. Empty for an answer."""
    message: str = ""
    """What went wrong, without anything of the prompt."""
    cut: bool = False
    """Whether the answer ended at its limit of tokens."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_nano_usd: int | None = None
    """Of the attempt that answered. None when unknown."""
    spent_nano_usd: int
    """Of all attempts; what is unknown counts as the most that it can be."""
    duration_s: float | None = None
    """Of the attempt that answered."""
    served_model: str = ""
    attempts: int


class Caller:
    """Calls models, each within its limits, all within one purse. For one event loop."""

    def __init__(
        self,
        registry: ProviderRegistry,
        transport: AsyncTransport,
        purse: Purse,
        *,
        seed: int,
        call_timeout_s: float,
    ) -> None:
        self._registry = registry
        self._transport = transport
        self._purse = purse
        self._draw = random.Random(seed).random  # noqa: S311 - spreads waits, hides nothing
        self._settings = ClientSettings(call_timeout_s=call_timeout_s, chat_timeout_s=_DAY_S)
        self._pacers: dict[str, Pacer] = {}

    async def call(
        self, model: BenchModel, text: CallText, note: Callable[[int], Awaitable[None]]
    ) -> CallResult:
        """Calls a model until it answers or its retries are used up.

        Args:
            model: The model.
            text: What it is asked.
            note: Is told, before each attempt is sent, the most nano-dollars that it can cost.

        Raises:
            CapReachedError: Not even the first attempt could be paid; nothing was sent.
        """
        pacer = self._pacers.setdefault(model.id, Pacer(model.registered.limits, time.monotonic))
        attempt = _PaidAttempt(self._purse, pacer, model, text, note)
        await attempt.begin()
        step = PlanStep(
            model=model.called,
            retry_limits=RETRIES,
            call_timeout_s=self._settings.call_timeout_s,
            estimated_cost_nano_usd=attempt.most,
        )
        run = self._run(step, text)
        answer: Answer | None = None
        error = message = ""
        try:
            answer = await self._drive(run.follow(()), run, attempt)
        except ChatError as failure:
            error = failure.error_class.word if failure.error_class else "not-callable"
            message = str(failure)
        except (ConfigurationError, InvalidRequestError) as failure:
            error, message = ErrorClass.INVALID_REQUEST.word, str(failure)
        except CapReachedError:
            error, message = CAP_REACHED, "what is left of the cap does not pay for another attempt"
        finally:
            await attempt.end(run.attempts)
        last = run.attempts[-1] if run.attempts else None
        usage = answer.usage if answer is not None else None
        return CallResult(
            text=answer.text if answer is not None else None,
            error=error,
            message=message,
            cut=answer is not None and answer.finish_reason is FinishReason.LENGTH,
            input_tokens=usage.input_tokens if usage else None,
            output_tokens=usage.output_tokens if usage else None,
            cost_nano_usd=_cost(model, last) if answer is not None and last else None,
            spent_nano_usd=attempt.spent_nano_usd,
            duration_s=last.duration_s if answer is not None and last else None,
            served_model=answer.served_model if answer is not None else "",
            attempts=len(run.attempts),
        )

    def _run(self, step: PlanStep, text: CallText) -> PlanRun:
        messages = (*((system(text.system),) if text.system else ()), user(text.prompt))
        request = ChatRequest(
            messages=messages,
            max_output_tokens=text.max_output_tokens,
            temperature=text.temperature,
        )
        clock = time.monotonic
        session = Session(
            settings=self._settings,
            providers=self._registry,
            # New for each call: a model that failed is to be tried again all the same.
            breakers=Breakers(clock),
            guard=EscalationGuard(Budget(), clock),
            routerless=Routerless(RouterlessDefaults()),
            outage=Outage(Hooks(), clock),
            report=lambda _: None,
            clock=clock,
            draw=self._draw,
        )
        plan = Plan(steps=(step,))
        decision = Decision(
            decision_id="bench",
            tier_id=step.model.tier_id,
            model_id=step.model.model_id,
            plan=plan,
        )
        asked = Asked(request=request, options=RoutingOptions(), stream=False, input_tokens=0)
        return PlanRun(session, asked, decision, plan, clock() + _DAY_S)

    async def _drive(self, script: Script[T], run: PlanRun, attempt: _PaidAttempt) -> T:
        """Does what a script asks for, and has each further attempt wait its turn."""
        value: Any = None
        error: BaseException | None = None
        while True:
            try:
                effect = script.send(value) if error is None else script.throw(error)
            except StopIteration as stop:
                result: T = stop.value
                return result
            value, error = None, None
            try:
                match effect:
                    case Send():
                        value = await self._transport.send(effect)
                    case Sleep(seconds):
                        await attempt.end(run.attempts)
                        await asyncio.sleep(seconds)
                        await attempt.begin()
                    case _:
                        # A run without stream, router and checks asks for nothing else.
                        error = AssertionError(effect)
            except BaseException as failure:  # noqa: BLE001 - the script decides what it means
                error = failure


class _PaidAttempt:
    """The attempt under way: its turn, and what is set aside for it."""

    def __init__(
        self,
        purse: Purse,
        pacer: Pacer,
        model: BenchModel,
        text: CallText,
        note: Callable[[int], Awaitable[None]],
    ) -> None:
        self._note = note
        self._purse = purse
        self._pacer = pacer
        self._model = model
        self._tokens = model.expected_input_tokens(text.whole) + text.max_output_tokens
        self._slot: Slot | None = None
        self._settled = 0
        self.most = model.most(text.whole, text.max_output_tokens)
        self.spent_nano_usd = 0

    async def begin(self) -> None:
        await self._purse.set_aside(self.most)
        try:
            slot = await self._pacer.enter(self._tokens)
            await self._note(self.most)
        except BaseException:
            await self._purse.settle(self.most, 0)
            raise
        self._slot = slot

    async def end(self, attempts: tuple[Attempt, ...]) -> None:
        """Books what the attempt cost. Has no effect where none is under way."""
        slot, self._slot = self._slot, None
        if slot is None:
            return
        cost, tokens = 0, self._tokens
        for one in attempts[self._settled :]:
            known = _cost(self._model, one)
            cost += self.most if known is None else known
            if one.usage is not None:
                tokens = one.usage.input_tokens + one.usage.output_tokens
        self._settled = len(attempts)
        self._pacer.settle(slot, tokens)
        self.spent_nano_usd += cost
        await self._purse.settle(self.most, cost)


def _cost(model: BenchModel, attempt: Attempt) -> int | None:
    """Returns what an attempt cost: as the provider states it, else by usage, else for failures."""
    if attempt.stated_cost or attempt.usage is None:
        return attempt.cost_nano_usd
    return model.cost(attempt.usage)
