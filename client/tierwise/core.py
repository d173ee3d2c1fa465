"""What `Client` and `AsyncClient` have in common: set-up, requests and reports."""

from __future__ import annotations

import os
import random
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import httpx

from tierwise.chat_response import Attempt
from tierwise.contract import routing_input
from tierwise.decisions import Decision
from tierwise.declared_types import check_types
from tierwise.errors import ConfigurationError, InvalidRequestError
from tierwise.execution.breaker import Breakers
from tierwise.execution.escalations import EscalationGuard
from tierwise.execution.outage import Outage
from tierwise.execution.routerless import Routerless
from tierwise.execution.session import Session
from tierwise.messages import ChatRequest, Message, user
from tierwise.providers.registry import ProviderRegistry, ProviderSettings
from tierwise.reporting.outcome import Judgement, Outcome, Verdict, new_outcome_id
from tierwise.reporting.reporter import Reporter, ReportingStatus
from tierwise.reporting.spool import Spool, default_spool_path
from tierwise.request_checks import check_request
from tierwise.router_channel import RouterAccess
from tierwise.router_link import RouterLink
from tierwise.routing import RoutingOptions
from tierwise.settings import ClientSettings
from tierwise.v1.routing_service_pb2 import ExplainDecisionRequest
from tierwise.validators import Validator

if TYPE_CHECKING:
    from tierwise.tracing import Tracing

EXPLAIN_TIMEOUT_S = 10.0
"""Explaining a decision takes many times as long as making it."""

Prompt = str | Sequence[Message] | ChatRequest
"""What a chat may begin with: a prompt, a conversation, or a whole request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientStatus:
    """What a client has been through since it was made."""

    reporting: ReportingStatus
    routerless_decisions: int
    """Decisions that were made without the router."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reported:
    """What the caller reports, as `Client.report` takes it."""

    decision: Decision
    attempts: tuple[Attempt, ...]
    quality: float | None
    verdict: Verdict | None


class ClientCore:
    """The state of a client within one process.

    A child of a fork makes its own: connections, threads and locks don't survive a fork.
    """

    def __init__(
        self,
        access: RouterAccess,
        providers: Mapping[str, ProviderSettings],
        settings: ClientSettings,
        tracing: Tracing | None = None,
    ) -> None:
        if not isinstance(settings, ClientSettings):
            raise ConfigurationError(
                f"settings: give ClientSettings, not {type(settings).__name__}"
            )
        self.process_id = os.getpid()
        self.access = access
        self.tls: ssl.SSLContext = httpx.create_ssl_context()
        self._settings = settings
        spool = Spool(settings.spool_path or default_spool_path(access.address))
        self._link: RouterLink | None = None
        self.reporter = Reporter(lambda: self.link.stub, spool)
        clock = time.monotonic
        self.session = Session(
            settings=settings,
            providers=ProviderRegistry(providers),
            breakers=Breakers(clock),
            guard=EscalationGuard(settings.budget, clock),
            routerless=Routerless(settings.routerless),
            outage=Outage(settings.hooks, clock),
            report=self.reporter.report if settings.report_outcomes else _no_report,
            clock=clock,
            draw=random.random,
            tracing=tracing,
        )

    @property
    def link(self) -> RouterLink:
        """The blocking channel to the router, which reports use in either kind of client."""
        if self._link is None:
            self._link = RouterLink(self.access)
        return self._link

    @property
    def status(self) -> ClientStatus:
        """What this client has been through in this process."""
        return ClientStatus(
            reporting=self.reporter.status,
            routerless_decisions=self.session.outage.total,
        )

    def request(self, prompt: Prompt) -> ChatRequest:
        """Returns the request that a prompt, a conversation or a request stands for."""
        if isinstance(prompt, ChatRequest):
            request = prompt
        elif isinstance(prompt, str):
            request = ChatRequest(messages=(user(prompt),))
        elif isinstance(prompt, list | tuple):
            request = ChatRequest(messages=tuple(prompt))
        else:
            raise InvalidRequestError(
                f"give text, a list of messages or a ChatRequest, not {type(prompt).__name__}",
                field="prompt",
            )
        own = self._settings.instructions
        return replace(request, instructions={**own, **request.instructions}) if own else request

    def options(self, options: RoutingOptions | None) -> RoutingOptions:
        """Returns a call's options over those of the client."""
        defaults = self._settings.options
        if not isinstance(options, RoutingOptions | None):
            raise InvalidRequestError(
                f"give RoutingOptions, not {type(options).__name__}", field="options"
            )
        return defaults if options is None else options.over(defaults)

    def validators(self, validators: Sequence[Validator]) -> tuple[Validator, ...]:
        """Returns a call's checks."""
        if not isinstance(validators, Sequence):
            raise InvalidRequestError("give a list of validators", field="validators")
        for number, one in enumerate(validators):
            if not isinstance(one, Validator):
                raise InvalidRequestError(
                    "no Validator; make one of a function with validators.custom(name, function)",
                    field=f"validators[{number}]",
                )
        return tuple(validators)

    def explain_request(
        self, prompt: Prompt, options: RoutingOptions | None
    ) -> ExplainDecisionRequest:
        """Returns what the router is asked for an explanation."""
        request = self.request(prompt)
        check_request(request)
        callable_ids = self.session.providers.callable_ids()
        return ExplainDecisionRequest(
            input=routing_input(request, self.options(options), callable_ids)
        )

    def report(
        self,
        decision: Decision,
        attempts: tuple[Attempt, ...],
        quality: float | None,
        verdict: Verdict | None,
    ) -> str:
        """Takes a report of the caller's own for delivery, and returns its id."""
        check_types(
            _Reported(decision=decision, attempts=attempts, quality=quality, verdict=verdict)
        )
        if quality is not None and not 0 <= quality <= 1:
            raise InvalidRequestError(f"must be from 0 to 1, not {quality}", field="quality")
        if not attempts and quality is None and verdict is None:
            raise InvalidRequestError(
                "report attempts, a quality or a verdict: there is nothing to say", field="attempts"
            )
        if not attempts and decision.routerless_cause is not None:
            # The router knows such a decision by an earlier report alone.
            judgement = Judgement(
                outcome_id=new_outcome_id(),
                decision_id=decision.decision_id,
                quality=quality,
                verdict=verdict,
                end_time=datetime.now(UTC),
            )
            self.reporter.report(judgement)
            return judgement.outcome_id
        outcome = Outcome(
            outcome_id=new_outcome_id(),
            decision=decision,
            attempts=attempts,
            quality=quality,
            verdict=verdict,
            end_time=datetime.now(UTC),
            caller=self._settings.options.caller,
        )
        self.reporter.report(outcome)
        return outcome.outcome_id

    def close(self, timeout_s: float) -> None:
        """Delivers what can be delivered in time, leaves the rest on disk, and closes."""
        self.reporter.close(timeout_s)
        if self._link is not None:
            self._link.close()


def _no_report(_: Outcome) -> None:
    """Takes the place of a reporter where outcomes are not to be reported."""


def provider_settings(
    given: Mapping[str, ProviderSettings] | None,
) -> dict[str, ProviderSettings]:
    """Returns a copy of what the caller says of providers.

    Raises:
        ConfigurationError: It is no mapping.
    """
    if not isinstance(given, Mapping | None):
        raise ConfigurationError("providers: give a mapping of provider ids to ProviderSettings")
    return dict(given or {})
