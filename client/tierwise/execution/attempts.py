"""The record of a chat's attempts, and what they have cost so far."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from tierwise.answers import Answer
from tierwise.chat_response import Attempt
from tierwise.decisions import PlanStep
from tierwise.error_class import ErrorClass
from tierwise.errors import ProviderError
from tierwise.money import answer_cost
from tierwise.served_model import is_another_model


class AttemptRecord:
    """Attempts of one chat, oldest first."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._attempts: list[Attempt] = []
        self._began = 0.0
        self._began_at = datetime.now(UTC)
        self._first_token_s: float | None = None
        self.received: Answer | None = None
        """What the call under way has brought: it is paid for, even if the caller gives up."""
        self.handed_over = False
        """Whether the caller has had a part of an answer: then no other model may answer."""
        self.spent_nano_usd = 0
        """Cost so far, that of attempts of unknown cost as estimated beforehand."""

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """All attempts that have ended."""
        return tuple(self._attempts)

    def begins(self) -> None:
        """Notes that a call is about to be sent."""
        self._began, self._began_at = self.clock(), datetime.now(UTC)
        self._first_token_s = None
        self.received = None

    def hand_over(self) -> None:
        """Notes that a part of a streamed answer goes to the caller."""
        self.handed_over = True
        if self._first_token_s is None:
            self._first_token_s = self.clock() - self._began

    def succeeded(self, step: PlanStep, answer: Answer) -> Attempt:
        """Records an answer."""
        return self._add(step, answer=answer, cost=answer_cost(answer, step.model.price))

    def rejected(self, step: PlanStep, answer: Answer, validator: str, why: str) -> Attempt:
        """Records an answer that a check rejected. It is paid for all the same."""
        return self._add(
            step,
            answer=answer,
            cost=answer_cost(answer, step.model.price),
            error_class=ErrorClass.REJECTED_BY_VALIDATOR,
            error_message=why,
            validator=validator,
        )

    def failed(self, step: PlanStep, failure: ProviderError) -> Attempt:
        """Records a failure, with the cost of what was generated before it."""
        cost = answer_cost(failure.partial, step.model.price)
        return self._add(
            step,
            answer=failure.partial,
            cost=0 if cost is None and failure.free else cost,
            error_class=failure.error_class,
            error_message=str(failure),
            request_id=failure.request_id,
        )

    def cancelled(self, step: PlanStep) -> Attempt:
        """Records a call that the caller gave up."""
        failure = ProviderError(
            "the caller gave up", error_class=ErrorClass.CANCELLED, partial=self.received
        )
        return self.failed(step, failure)

    def _add(
        self,
        step: PlanStep,
        *,
        answer: Answer | None,
        cost: int | None,
        error_class: ErrorClass | None = None,
        error_message: str = "",
        validator: str = "",
        request_id: str = "",
    ) -> Attempt:
        served = answer.served_model if answer else ""
        attempt = Attempt(
            model_id=step.model.model_id,
            provider_id=step.model.provider_id,
            step_kind=step.kind,
            error_class=error_class,
            error_message=error_message,
            start_time=self._began_at,
            duration_s=self.clock() - self._began,
            first_token_s=self._first_token_s,
            usage=answer.usage if answer else None,
            cost_nano_usd=cost,
            stated_cost=answer is not None and answer.cost_nano_usd is not None,
            served_model=served,
            is_another_model=is_another_model(step.model.upstream_name, served),
            request_id=request_id or (answer.request_id if answer else ""),
            validator=validator,
            partial=error_class is not None and self._first_token_s is not None,
            headroom=answer.headroom if answer else None,
        )
        self._attempts.append(attempt)
        self.spent_nano_usd += cost if cost is not None else (step.estimated_cost_nano_usd or 0)
        return attempt
