"""One chat on its way through its plan."""

from __future__ import annotations

from tierwise.answers import Answer
from tierwise.chat_response import Attempt
from tierwise.decisions import Decision, Plan, PlanStep
from tierwise.error_class import ErrorClass
from tierwise.errors import ChatError, ProviderError
from tierwise.execution import exchange
from tierwise.execution.attempts import AttemptRecord
from tierwise.execution.chooser import Asked, StepChooser
from tierwise.execution.effects import Script, Sleep
from tierwise.execution.session import Session
from tierwise.execution.steps import retry_limit
from tierwise.hooks import AttemptEvent, notify
from tierwise.validators import Validator


class PlanRun:
    """Follows a plan until a model answers, or nothing is left to try. Used once.

    A failure leads to the same model again, to another, or to the end. Once a part of an answer
    has been handed over to the caller, it leads to the end alone.
    """

    def __init__(
        self, session: Session, asked: Asked, decision: Decision, plan: Plan, deadline: float
    ) -> None:
        self._session = session
        self._asked = asked
        self._decision = decision
        self._steps = plan.steps
        self._deadline = deadline
        self._record = AttemptRecord(session.clock)
        self._chooser = StepChooser(session, asked, plan, self._record)
        self._announced = 0

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The attempts that have ended, oldest first."""
        return self._record.attempts

    def follow(self, validators: tuple[Validator, ...]) -> Script[Answer]:
        """Returns the answer.

        Raises:
            ChatError: No model answered.
            ConfigurationError: There is no key or adapter for any model of the plan.
            InvalidRequestError: No provider of the plan can take such a request.
        """
        if self._time_left() <= 0:
            raise self._gave_up(_too_late())
        position = self._chooser.first()
        failure: ProviderError | None = None
        while position is not None:
            outcome = yield from self._try_step(position, validators)
            if isinstance(outcome, Answer):
                self._announce("")
                return outcome
            failure, following = outcome, None
            if not self._record.handed_over and self._time_left() > 0:
                following = self._chooser.after(position, failure.error_class)
            self._announce("" if following is None else self._steps[following].model.model_id)
            position = following
        raise self._gave_up(failure) from failure

    def _try_step(
        self, position: int, validators: tuple[Validator, ...]
    ) -> Script[Answer | ProviderError]:
        """Calls a model, again where its failures allow that; returns what came of it at last."""
        model_id, breakers = self._steps[position].model.model_id, self._session.breakers
        try:
            outcome = yield from self._try_repeatedly(position, validators)
        except BaseException:
            breakers.undecided(model_id)
            raise
        if isinstance(outcome, Answer):
            breakers.succeeded(model_id)
        else:
            breakers.failed(model_id, outcome.error_class, outcome.retry_after_s)
        return outcome

    def _try_repeatedly(
        self, position: int, validators: tuple[Validator, ...]
    ) -> Script[Answer | ProviderError]:
        step = self._steps[position]
        retries = 0
        while True:
            try:
                return (yield from self._traced_attempt(position, validators))
            except ProviderError as failure:
                wait = self._wait_before_retry(step, failure, retries)
                if wait is None:
                    return failure
                retries += 1
                self._announce(step.model.model_id)
                yield Sleep(wait)
                if self._time_left() <= 0:
                    return failure

    def _wait_before_retry(
        self, step: PlanStep, failure: ProviderError, retries: int
    ) -> float | None:
        """Returns how long to wait before the same model is called again; None for not at all."""
        settings = self._session.settings
        if (
            self._record.handed_over
            or retries >= retry_limit(step, failure.error_class)
            or self._chooser.beyond_budget(step)
            or self._session.breakers.rest_left_s(step.model.model_id)
        ):
            return None
        asked, longest = failure.retry_after_s or 0.0, settings.longest_wait_s
        if asked > longest:
            return None
        # A part of each wait is drawn, so that callers that failed together come back apart.
        if asked:
            wait = min(asked * (1 + 0.1 * self._session.draw()), longest)
        else:
            own = min(settings.first_wait_s * 2**retries, longest)
            wait = own * (0.5 + 0.5 * self._session.draw())
        return wait if wait < self._time_left() else None

    def _traced_attempt(self, position: int, validators: tuple[Validator, ...]) -> Script[Answer]:
        script, tracing = self._attempt(position, validators), self._session.tracing
        if tracing is None:
            return script
        return tracing.attempt(script, self._steps[position], self._record, self._asked.options)

    def _attempt(self, position: int, validators: tuple[Validator, ...]) -> Script[Answer]:
        """Makes one call and records it. Raises what went wrong with it."""
        step = self._steps[position]
        provider, post = self._chooser.call(position)
        longest_s = min(step.call_timeout_s, self._session.settings.call_timeout_s)
        timeout_s = min(longest_s, self._time_left())
        record = self._record
        record.begins()
        try:
            if self._asked.stream:
                limits = exchange.StreamLimits(
                    head_s=timeout_s, gap_s=longest_s, deadline=self._deadline
                )
                answer = yield from exchange.streamed(provider, post, limits, record)
            else:
                answer = yield from exchange.whole(provider, post, timeout_s)
            record.received = answer
            rejection = yield from exchange.rejection(answer, validators)
        except ProviderError as failure:
            record.failed(step, failure)
            raise
        except BaseException:
            record.cancelled(step)
            self._announce("")
            raise
        if rejection is not None:
            record.rejected(step, answer, *rejection)
            raise exchange.rejected(answer, *rejection)
        record.succeeded(step, answer)
        return answer

    def _time_left(self) -> float:
        return self._deadline - self._session.clock()

    def _announce(self, next_model_id: str) -> None:
        """Tells the caller's hook of the last attempt, once."""
        attempts = self._record.attempts
        if len(attempts) > self._announced:
            self._announced = len(attempts)
            event = AttemptEvent(
                decision=self._decision, attempt=attempts[-1], next_model_id=next_model_id
            )
            notify(self._session.settings.hooks.on_attempt, event)

    def _gave_up(self, failure: ProviderError | None) -> ChatError:
        passed_over = "; ".join(self._chooser.passed_over)
        if failure is None:
            message = f"no model of the plan may be called: {passed_over}"
        else:
            last = self._record.attempts[-1] if self._record.attempts else None
            model = last.model_id if last else self._steps[0].model.model_id
            message = f"{model}: {failure.error_class.word}: {failure}"
            if passed_over:
                message += f" (not tried: {passed_over})"
        return ChatError(
            message,
            error_class=failure.error_class if failure else None,
            decision=self._decision,
            attempts=self._record.attempts,
            partial=failure.partial if failure else None,
        )


def _too_late() -> ProviderError:
    return ProviderError(
        "the chat's deadline passed before a model could be called",
        error_class=ErrorClass.TIMEOUT,
        sent=False,
    )
