"""What a chat comes to: the answer, what it cost, and every attempt that was made for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tierwise.answers import Answer, FinishReason, RateHeadroom, Usage
from tierwise.decisions import Decision, StepKind
from tierwise.error_class import ErrorClass
from tierwise.messages import Message, ToolCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One call of a model."""

    model_id: str
    provider_id: str
    step_kind: StepKind
    error_class: ErrorClass | None = None
    """None for a call that succeeded."""
    error_message: str = ""
    """Empty for a call that succeeded. Never holds a key or anything of the prompt."""
    start_time: datetime
    """With time zone."""
    duration_s: float
    """From sending the call to the end of the answer, or to the failure."""
    first_token_s: float | None = None
    """From sending the call to the first part of the answer. None unless it was streamed."""
    usage: Usage | None = None
    """None where the provider did not say, as with most failures."""
    cost_nano_usd: int | None = None
    """What the call cost, in billionths of a US dollar: as the provider states it, else its usage
    at the model's price. None when neither is known; that is not the same as nothing."""
    stated_cost: bool = False
    """Whether the provider itself states the cost."""
    served_model: str = ""
    """Model that answered, as the provider names it. Empty when it did not say."""
    is_another_model: bool | None = None
    """Whether that is neither the model that was asked for nor a version of it. None when it is not
    known."""
    request_id: str = ""
    validator: str = ""
    """Check that rejected the answer. Empty when none did."""
    partial: bool = False
    """Whether the answer was streamed and broke off."""
    headroom: RateHeadroom | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatResponse:
    """An answer, and how it came about."""

    answer: Answer
    decision: Decision
    attempts: tuple[Attempt, ...]
    """All that were made, oldest first; the last one gave the answer."""
    outcome_id: str
    """Of the report to the router; a later judgement refers to `decision.decision_id`."""

    @property
    def text(self) -> str:
        """The answer's text."""
        return self.answer.text

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tools that the model wants called."""
        return self.answer.tool_calls

    @property
    def message(self) -> Message:
        """The answer as a turn to go on from."""
        return self.answer.message

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the answer ended."""
        return self.answer.finish_reason

    @property
    def usage(self) -> Usage | None:
        """Tokens of the call that gave the answer; `attempts` has those of the others."""
        return self.answer.usage

    @property
    def model_id(self) -> str:
        """Model that gave the answer, by its id in the catalog."""
        return self.attempts[-1].model_id

    @property
    def served_model(self) -> str:
        """Model that gave the answer, as the provider names it. Empty when it did not say."""
        return self.answer.served_model

    @property
    def cost_nano_usd(self) -> int | None:
        """Cost of all attempts, in billionths of a US dollar. None when one's is not known."""
        return total_cost(self.attempts)


def total_cost(attempts: tuple[Attempt, ...]) -> int | None:
    """Returns what attempts cost together. None when the cost of an attempt is not known."""
    costs = [attempt.cost_nano_usd for attempt in attempts]
    return None if None in costs else sum(cost for cost in costs if cost is not None)
