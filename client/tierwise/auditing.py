"""Measures in production whether the routed answers are still good enough.

A sampled share of the calls is repeated on the baseline model in the background, within a budget of
its own; a judge sets the two answers side by side, and what it says is reported as the quality of
the routed call.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from types import TracebackType
from typing import Final, Self

import grpc

from tierwise.chat_response import ChatResponse, total_cost
from tierwise.client import Client
from tierwise.core import Prompt
from tierwise.errors import ChatError, InvalidRequestError, TierwiseError
from tierwise.providers.registry import ProviderSettings
from tierwise.router_channel import Token
from tierwise.routing import RoutingOptions
from tierwise.settings import ClientSettings

_log = logging.getLogger(__name__)

NANO_PER_USD: Final = 1_000_000_000

WAITING_LIMIT: Final = 16
"""Calls that wait to be repeated; further ones are left out, since each holds a whole prompt."""

PROMPT_ID: Final = "prompt_id"
"""Key of a decision's metadata by which reports know calls of one prompt."""

MOST_METADATA: Final = 20
"""Entries that a request may have."""

_HASH_BYTES: Final = 8
_HASH_RANGE: Final = 1 << (8 * _HASH_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two answers to one prompt, for a judge."""

    prompt: Prompt
    routed: ChatResponse
    baseline: ChatResponse


Judge = Callable[[Pair], float]
"""Returns how good the routed answer is, from 0 to 1, where 1 means as good as the baseline's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditStatus:
    """What an auditor has done since it was made."""

    audited: int
    """Calls that were repeated and judged."""
    failed: int
    """Calls that the baseline model did not answer, or the judge could not judge."""
    skipped: Mapping[str, int]
    """Calls that were drawn and left out, by reason: `budget`, `unpriced` or `busy`."""
    spent_nano_usd: int
    """On the baseline model, in all."""
    mean_quality: float | None
    """Of the audited calls. None without any."""


@dataclass(frozen=True, slots=True)
class _Drawn:
    prompt: Prompt
    response: ChatResponse
    options: RoutingOptions
    estimate: int
    day: date


@dataclass(slots=True)
class _Figures:
    audited: int = 0
    failed: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    spent: int = 0
    qualities: float = 0.0
    day: date = date.min
    spent_today: int = 0


class Auditor:
    """Repeats a share of calls on the baseline model, on a thread of its own. Thread-safe.

    Beside a `Client` or an `AsyncClient` alike. Use it as a context manager, or close it.
    """

    def __init__(
        self,
        judge: Judge,
        *,
        share: float,
        daily_budget_usd: float,
        router: str | None = None,
        providers: Mapping[str, ProviderSettings] | None = None,
        settings: ClientSettings | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        token: Token | None = None,
    ) -> None:
        """Prepares an auditor; the rest of the arguments are those of `Client`.

        Args:
            judge: Grades the routed answer. Called on the auditor's thread; may ask a model, whose
                cost is not in the budget.
            share: Share of the calls to repeat, from 0 to 1.
            daily_budget_usd: Most to spend on the baseline model in one day, in UTC.
            router: As of `Client`.
            providers: As of `Client`.
            settings: As of `Client`.
            credentials: As of `Client`.
            token: As of `Client`.

        Raises:
            InvalidRequestError: The share or the budget makes no sense.
            ConfigurationError: The router's address, or a provider, can't be used.
        """
        if not 0 <= share <= 1:
            raise InvalidRequestError(f"must be from 0 to 1, not {share}", field="share")
        if not 0 <= daily_budget_usd < math.inf:
            raise InvalidRequestError(
                f"must be 0 or more and finite, not {daily_budget_usd}", field="daily_budget_usd"
            )
        self._judge = judge
        self._share = share
        self._budget = round(daily_budget_usd * NANO_PER_USD)
        self._client = Client(
            router, providers=providers, settings=settings, credentials=credentials, token=token
        )
        self._figures = _Figures()
        self._lock = threading.Lock()
        self._waiting: queue.Queue[_Drawn | None] = queue.Queue(WAITING_LIMIT)
        self._thread: threading.Thread | None = None
        self._closed = False

    def __enter__(self) -> Self:
        """Returns the auditor."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes the auditor."""
        self.close()

    def consider(
        self, prompt: Prompt, response: ChatResponse, options: RoutingOptions | None = None
    ) -> bool:
        """Draws a call that was answered; returns at once whether it will be repeated.

        Left out are calls of the baseline model itself, decisions without a router, and those with
        `keep_nothing`. Limits of the options hold for the baseline model as well.

        Args:
            prompt: What was asked.
            response: The answer.
            options: What it was asked with.
        """
        decision = response.decision
        options = options or RoutingOptions()
        baseline = decision.baseline_model_id
        if options.keep_nothing or decision.routerless_cause is not None:
            return False
        if baseline in {"", response.model_id} or not self._is_drawn(decision.decision_id):
            return False
        estimate = decision.counterfactual_cost_nano_usd
        with self._lock:
            if self._closed:
                return False
            reason = self._reserve(estimate)
            if not reason:
                drawn = _Drawn(prompt, response, options, estimate or 0, self._figures.day)
                try:
                    self._waiting.put_nowait(drawn)
                except queue.Full:
                    self._figures.spent_today -= drawn.estimate
                    reason = "busy"
            if reason:
                self._figures.skipped[reason] = self._figures.skipped.get(reason, 0) + 1
                return False
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="tierwise-audit", daemon=True
                )
                self._thread.start()
        return True

    @property
    def status(self) -> AuditStatus:
        """What has been done so far."""
        with self._lock:
            one = self._figures
            return AuditStatus(
                audited=one.audited,
                failed=one.failed,
                skipped=dict(one.skipped),
                spent_nano_usd=one.spent,
                mean_quality=one.qualities / one.audited if one.audited else None,
            )

    def close(self, timeout_s: float = 60.0) -> None:
        """Repeats what waits for as long as given, delivers the reports, and closes."""
        with self._lock:
            self._closed = True
            thread = self._thread
        if thread is not None:
            with contextlib.suppress(queue.Full):
                self._waiting.put(None, timeout=timeout_s)
            thread.join(timeout_s)
        self._client.close()

    def _is_drawn(self, decision_id: str) -> bool:
        digest = hashlib.blake2b(decision_id.encode(), digest_size=_HASH_BYTES).digest()
        return int.from_bytes(digest, "big") < self._share * _HASH_RANGE

    def _reserve(self, estimate: int | None) -> str:
        """Sets an estimated cost aside; returns why that can't be, or nothing."""
        today = datetime.now(UTC).date()
        if self._figures.day != today:
            self._figures.day, self._figures.spent_today = today, 0
        if estimate is None:
            return "unpriced"
        if self._figures.spent_today + estimate > self._budget:
            return "budget"
        self._figures.spent_today += estimate
        return ""

    def _run(self) -> None:
        while (drawn := self._waiting.get()) is not None:
            spent, quality = 0, None
            try:
                spent, quality = self._audit(drawn)
            except ChatError as error:
                spent = total_cost(error.attempts) or 0
                _log.warning("a call could not be repeated: %s", error.error_class)
            except TierwiseError as error:
                _log.warning("a call could not be repeated: %s", type(error).__name__)
            with self._lock:
                figures = self._figures
                figures.spent += spent
                if figures.day == drawn.day:
                    figures.spent_today += spent - drawn.estimate
                if quality is None:
                    figures.failed += 1
                else:
                    figures.audited += 1
                    figures.qualities += quality

    def _audit(self, drawn: _Drawn) -> tuple[int, float | None]:
        """Repeats one call, has it judged and reports that; returns its cost and the quality."""
        decision, metadata = drawn.response.decision, drawn.options.metadata
        if len(metadata) < MOST_METADATA:
            # By this, reports tell that both calls are of one prompt.
            metadata = {PROMPT_ID: decision.decision_id, **metadata}
        options = replace(
            drawn.options, tier="", model=decision.baseline_model_id, metadata=metadata
        )
        baseline = self._client.chat(drawn.prompt, options)
        pair = Pair(prompt=drawn.prompt, routed=drawn.response, baseline=baseline)
        quality = self._grade(pair)
        if quality is not None:
            self._client.report(decision, quality=quality)
            # By what the judge measures, the baseline is as good as itself.
            self._client.report(baseline.decision, quality=1.0)
        return baseline.cost_nano_usd or 0, quality

    def _grade(self, pair: Pair) -> float | None:
        """Returns what the judge says; None where that is no grade."""
        try:
            quality = float(self._judge(pair))
        except Exception as error:  # noqa: BLE001 - the judge is the caller's
            # Without the message, which may hold the prompt.
            _log.warning("a judge failed: %s", type(error).__name__)
            return None
        if not 0 <= quality <= 1:
            _log.warning("a judge gave %s, which is not from 0 to 1", quality)
            return None
        return quality
