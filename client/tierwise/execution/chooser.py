"""Which step of a plan may be taken next, by the plan, the limits, the budget and the breakers."""

from __future__ import annotations

import json
from dataclasses import dataclass

from tierwise.decisions import Plan, PlanStep, StepKind
from tierwise.error_class import ErrorClass
from tierwise.errors import ConfigurationError, InvalidRequestError
from tierwise.execution.attempts import AttemptRecord
from tierwise.execution.effects import Post
from tierwise.execution.limits import violation
from tierwise.execution.session import Session
from tierwise.execution.steps import steps_after
from tierwise.messages import ChatRequest
from tierwise.providers.base import HttpCall, Provider
from tierwise.routing import RoutingOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What one chat asks, in the form that its models get it."""

    request: ChatRequest
    options: RoutingOptions
    stream: bool
    input_tokens: int
    """Estimated."""


class StepChooser:
    """Chooses the steps of one chat. Used once."""

    def __init__(self, session: Session, asked: Asked, plan: Plan, record: AttemptRecord) -> None:
        self._session = session
        self._asked = asked
        self._steps = plan.steps
        self._record = record
        self._calls: dict[int, tuple[Provider, Post]] = {}
        self._escalated = False
        self.passed_over: list[str] = []
        """Steps that were not taken, each with the reason, for people."""

    def first(self) -> int | None:
        """Returns where to begin: at the first step, or where its model's rest leads to.

        None when no step may be taken.

        Raises:
            ConfigurationError: There is no key or adapter for any model of the plan.
            InvalidRequestError: The first model's provider can't take such a request, and there is
                no other.
        """
        resting = None
        barred = self._barred(0)
        if barred:
            self._pass_over(0, barred)
        else:
            resting = self._session.breakers.resting(self._steps[0].model.model_id)
            if resting is None:
                return 0
            self._pass_over(0, f"it rests after {resting.word}")
        following = self.after(0, resting or ErrorClass.SERVER_ERROR)
        if following is not None:
            return following
        # Better a model that failed lately than none.
        later = steps_after(self._steps, 0, ErrorClass.SERVER_ERROR)
        for position in (0, *later):
            if not self._barred(position) and self._within_share(self._steps[position]):
                return position
        self.call(0)
        return None

    def after(self, position: int, error_class: ErrorClass) -> int | None:
        """Returns the step that a failure leads to; None when there is none that may be taken."""
        for later in steps_after(self._steps, position, error_class):
            model_id = self._steps[later].model.model_id
            if why := self._barred(later):
                self._pass_over(later, why)
            elif resting := self._session.breakers.resting(model_id):
                self._pass_over(later, f"it rests after {resting.word}")
            elif not self._within_share(self._steps[later]):
                self._session.breakers.undecided(model_id)
                self._pass_over(later, "too many chats have escalated lately")
            else:
                return later
        return None

    def call(self, position: int) -> tuple[Provider, Post]:
        """Returns the call of a step and who can read its reply.

        Raises:
            ConfigurationError: There is no key or adapter for its model.
            InvalidRequestError: Its provider can't take such a request.
        """
        if position not in self._calls:
            model = self._steps[position].model
            provider, endpoint = self._session.providers.resolve(model)
            call = provider.call(self._asked.request, model, endpoint, stream=self._asked.stream)
            self._calls[position] = (provider, _post(model.provider_id, call))
        return self._calls[position]

    def beyond_budget(self, step: PlanStep) -> str:
        """Returns why a further call of a step would cost too much; empty when it would not."""
        limit = self._session.settings.budget.max_cost_nano_usd
        if limit is None:
            return ""
        if step.estimated_cost_nano_usd is None:
            return "its price is unknown, and the budget is limited"
        if self._record.spent_nano_usd + step.estimated_cost_nano_usd > limit:
            return "it would go beyond the budget of the chat"
        return ""

    def _barred(self, position: int) -> str:
        """Returns what speaks against a step, in words; empty when nothing does."""
        step, asked = self._steps[position], self._asked
        if why := violation(step, asked.request, asked.options, asked.input_tokens):
            return why
        try:
            self.call(position)
        except (ConfigurationError, InvalidRequestError) as error:
            return str(error)
        return self.beyond_budget(step)

    def _within_share(self, step: PlanStep) -> bool:
        """Returns whether the share of escalating chats allows a step; counts the chat if so."""
        if step.kind is StepKind.ESCALATION and not self._escalated:
            self._escalated = self._session.guard.may_escalate()
            return self._escalated
        return True

    def _pass_over(self, position: int, why: str) -> None:
        self.passed_over.append(f"{self._steps[position].model.model_id}: {why}")


def _post(provider_id: str, call: HttpCall) -> Post:
    try:
        content = json.dumps(
            call.body, ensure_ascii=False, separators=(",", ":"), allow_nan=False
        ).encode()
    except (TypeError, ValueError) as error:
        # Such as an object or NaN among the extras, or half a surrogate pair in a text.
        raise InvalidRequestError(
            f"can't be written as JSON: {type(error).__name__}", field="request"
        ) from error
    return Post(provider_id=provider_id, url=call.url, headers=call.headers, content=content)
