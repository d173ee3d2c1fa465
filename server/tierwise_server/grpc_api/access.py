"""Who may call which method: reads the bearer token of a call and holds it against its grant.

The name that a token stands for is the caller of everything it is used for. A request that names
another caller is refused, since limits and reports go by that name.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from typing import Final

from tierwise.v1.routing_input_pb2 import RoutingInput
from tierwise.v1.routing_service_pb2 import (
    BatchRoutePromptsRequest,
    ExplainDecisionRequest,
    RoutePromptRequest,
)
from tierwise_server.access.token_file import TokenFile
from tierwise_server.access.tokens import Grant, Scope

METADATA_KEY: Final = "authorization"
_SCHEME: Final = "bearer "

SCOPES: Final[Mapping[str, Scope]] = {
    "RoutePrompt": Scope.ROUTE,
    "BatchRoutePrompts": Scope.ROUTE,
    "ExplainDecision": Scope.ROUTE,
    "ReportOutcomes": Scope.REPORT,
    "GetCatalog": Scope.ROUTE,
    "GetCatalogStatus": Scope.ROUTE,
    "ListTiers": Scope.ROUTE,
    "ListModels": Scope.ROUTE,
    "ReloadCatalog": Scope.ADMIN,
    "GetCandidateStatus": Scope.ROUTE,
}
"""What each method asks for."""

authenticated_caller: ContextVar[str | None] = ContextVar("authenticated_caller", default=None)
"""Caller that the token of the call in hand stands for. None where no tokens are asked for."""

Metadata = Iterable[tuple[str, str | bytes]]


class UnauthenticatedError(Exception):
    """The call carries no token that this server takes."""


class PermissionDeniedError(Exception):
    """The call's token does not allow what the call wants."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field
        """Path of what it may not say. Empty where the method itself is not allowed."""


class AccessControl:
    """Admits calls by the tokens of a file."""

    def __init__(self, file: TokenFile) -> None:
        self._file = file

    def admit(self, method: str, request: object, metadata: Metadata) -> None:
        """Lets a call pass, its caller noted in the request and in `authenticated_caller`.

        Raises:
            UnauthenticatedError: There is no token, or none that is good today.
            PermissionDeniedError: The token lacks the scope, or the request names another caller.
        """
        grant = self._grant(metadata)
        if SCOPES[method] not in grant.scopes:
            raise PermissionDeniedError(
                f"{method} needs a token with the scope {SCOPES[method]};"
                f" this one has {', '.join(sorted(grant.scopes))}"
            )
        for field, message in _inputs_of(request):
            if not message.caller:
                message.caller = grant.caller
            elif message.caller != grant.caller:
                raise PermissionDeniedError(
                    f"{field}.caller: the token is of another caller; leave the field empty",
                    field=f"{field}.caller",
                )
        authenticated_caller.set(grant.caller)

    def _grant(self, metadata: Metadata) -> Grant:
        header = next((value for key, value in metadata if key == METADATA_KEY), None)
        if not isinstance(header, str) or header[: len(_SCHEME)].lower() != _SCHEME:
            raise UnauthenticatedError(
                "this server asks for a token: send the metadata `authorization: Bearer TOKEN`"
            )
        grant = self._file.tokens.grant_of(header[len(_SCHEME) :].strip())
        if grant is None:
            raise UnauthenticatedError("the token is none that this server takes")
        if not grant.is_good_on(datetime.datetime.now(datetime.UTC).date()):
            raise UnauthenticatedError("the token has expired")
        return grant


def _inputs_of(request: object) -> Iterable[tuple[str, RoutingInput]]:
    """Returns the parts of a request that name a caller, each with its path.

    Reports name callers too, but one by one: `outcome_checks` minds those.
    """
    match request:
        case RoutePromptRequest() | ExplainDecisionRequest():
            return [("input", request.input)]
        case BatchRoutePromptsRequest():
            return [(f"inputs[{place}]", one) for place, one in enumerate(request.inputs)]
        case _:
            return ()
