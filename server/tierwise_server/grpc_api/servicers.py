"""The methods of the contract: read the message, ask the use case, write the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tierwise.v1 import catalog_service_pb2, routing_service_pb2
from tierwise.v1.decision_pb2 import Decision
from tierwise_server.deciding.errors import (
    FieldFault,
    InvalidFieldsError,
    RequestError,
    each_below,
)
from tierwise_server.grpc_api import catalog as messages
from tierwise_server.grpc_api.boundary import CallContext, deadline_of
from tierwise_server.grpc_api.candidates import candidate_message
from tierwise_server.grpc_api.decision import fill_decision
from tierwise_server.grpc_api.errors import NotReadyError, NotServedError
from tierwise_server.grpc_api.explanation import explanation_message
from tierwise_server.grpc_api.models import model_message
from tierwise_server.grpc_api.outcomes import OutcomeIntake
from tierwise_server.grpc_api.routing_input import read_query
from tierwise_server.ledger.decisions import decision_record
from tierwise_server.ledger.ledger import Ledger
from tierwise_server.ledger.records import OutcomeRecord
from tierwise_server.router import Router
from tierwise_server.routing import Query, Routed
from tierwise_server.telemetry import Telemetry

MAX_BATCH = 256
MAX_OUTCOMES = 1_000
DEFAULT_TASK_LIMIT = 10
MAX_TASK_LIMIT = 100

_RESULTS = {
    status: name.removeprefix("OUTCOME_STATUS_").lower()
    for name, status in routing_service_pb2.OutcomeStatus.items()
}
"""What became of an outcome, as metrics name it."""


class RouterSlot:
    """Where the methods find the router, once it is there."""

    def __init__(self) -> None:
        self._router: Router | None = None

    @property
    def is_filled(self) -> bool:
        """Whether it is there."""
        return self._router is not None

    @property
    def router(self) -> Router:
        """The router.

        Raises:
            NotReadyError: It is not there yet.
        """
        if self._router is None:
            raise NotReadyError("the encoder and the catalogs are being loaded")
        return self._router

    @router.setter
    def router(self, router: Router) -> None:
        self._router = router


class RoutingServicer:
    """`tierwise.v1.RoutingService`."""

    def __init__(
        self,
        slot: RouterSlot,
        telemetry: Telemetry,
        ledger: Ledger | None = None,
        *,
        on_accepted: Callable[[Sequence[OutcomeRecord]], None] | None = None,
        keep_prompts: bool = False,
    ) -> None:
        self._slot = slot
        self._telemetry = telemetry
        self._ledger = ledger
        self._keep_prompts = keep_prompts
        self._intake = OutcomeIntake(ledger, on_accepted=on_accepted)

    async def RoutePrompt(
        self, request: routing_service_pb2.RoutePromptRequest, context: CallContext
    ) -> routing_service_pb2.RoutePromptResponse:
        """Decides for one prompt."""
        try:
            query = read_query(request.input)
            routed = await self._slot.router.route(query, deadline=deadline_of(context))
        except RequestError as error:
            raise error.below("input") from error
        self._telemetry.decided(routed)
        response = routing_service_pb2.RoutePromptResponse()
        fill_decision(response.decision, routed)
        self._record(response.decision, query, routed)
        return response

    async def BatchRoutePrompts(
        self, request: routing_service_pb2.BatchRoutePromptsRequest, context: CallContext
    ) -> routing_service_pb2.BatchRoutePromptsResponse:
        """Decides for several prompts by one revision of each catalog."""
        _check_count("inputs", len(request.inputs), MAX_BATCH)
        queries = each_below("inputs", request.inputs, read_query)
        decided = await self._slot.router.route_all(
            queries, path="inputs", deadline=deadline_of(context)
        )
        for routed in decided:
            self._telemetry.decided(routed)
        response = routing_service_pb2.BatchRoutePromptsResponse()
        for query, routed in zip(queries, decided, strict=True):
            decision = response.decisions.add()
            fill_decision(decision, routed)
            self._record(decision, query, routed)
        return response

    async def ExplainDecision(
        self, request: routing_service_pb2.ExplainDecisionRequest, context: CallContext
    ) -> routing_service_pb2.ExplainDecisionResponse:
        """Decides, and shows what the decision rests on."""
        _check_least("task_limit", request.task_limit)
        try:
            explained = await self._slot.router.explain(
                read_query(request.input),
                task_limit=min(request.task_limit or DEFAULT_TASK_LIMIT, MAX_TASK_LIMIT),
                expected_revision=request.expected_revision,
                deadline=deadline_of(context),
            )
        except RequestError as error:
            raise error.below("input") from error
        response = routing_service_pb2.ExplainDecisionResponse(
            explanation=explanation_message(explained)
        )
        fill_decision(response.decision, explained.routed, with_token=False)
        return response

    async def ReportOutcomes(
        self,
        request: routing_service_pb2.ReportOutcomesRequest,
        context: CallContext,
    ) -> routing_service_pb2.ReportOutcomesResponse:
        """Takes what became of decisions."""
        _check_count("outcomes", len(request.outcomes), MAX_OUTCOMES)
        results = await self._intake.take(request.outcomes)
        self._telemetry.outcomes_taken(_RESULTS[one.status] for one in results)
        return routing_service_pb2.ReportOutcomesResponse(results=results)

    def _record(self, decision: Decision, query: Query, routed: Routed) -> None:
        self._slot.router.confirm(routed, decision.decision_id)
        if self._ledger is not None:
            self._ledger.record_decision(
                decision_record(decision.decision_id, query, routed, with_prompt=self._keep_prompts)
            )


class CatalogServicer:
    """`tierwise.v1.CatalogService`."""

    def __init__(self, slot: RouterSlot, telemetry: Telemetry, *, admin: bool) -> None:
        self._slot = slot
        self._telemetry = telemetry
        self._admin = admin

    async def GetCatalog(
        self,
        request: catalog_service_pb2.GetCatalogRequest,
        context: CallContext,
    ) -> catalog_service_pb2.GetCatalogResponse:
        """Returns the catalog that is being served."""
        live = self._slot.router.live(request.catalog)
        return catalog_service_pb2.GetCatalogResponse(
            catalog=messages.catalog_message(live.name, live.snapshot)
        )

    async def GetCatalogStatus(
        self,
        request: catalog_service_pb2.GetCatalogStatusRequest,
        context: CallContext,
    ) -> catalog_service_pb2.GetCatalogStatusResponse:
        """Returns how the catalog stands to its files."""
        live = self._slot.router.live(request.catalog)
        return messages.status_message(live, *self._telemetry.index_use(live.name))

    async def GetCandidateStatus(
        self,
        request: catalog_service_pb2.GetCandidateStatusRequest,
        context: CallContext,
    ) -> catalog_service_pb2.GetCandidateStatusResponse:
        """Returns how the catalog's candidate stands and compares."""
        router = self._slot.router
        live = router.live(request.catalog)
        return candidate_message(live, router.trials.get(live.name))

    async def ListTiers(
        self,
        request: catalog_service_pb2.ListTiersRequest,
        context: CallContext,
    ) -> catalog_service_pb2.ListTiersResponse:
        """Lists the tiers with their tasks."""
        snapshot = self._slot.router.live(request.catalog).snapshot
        tiers, following = messages.page(
            snapshot.catalog.tiers,
            size=request.page_size,
            token=request.page_token,
            revision=snapshot.revision,
        )
        return catalog_service_pb2.ListTiersResponse(
            tiers=[messages.tier_message(snapshot.catalog, tier) for tier in tiers],
            next_page_token=following,
            catalog_revision=snapshot.revision,
        )

    async def ListModels(
        self,
        request: catalog_service_pb2.ListModelsRequest,
        context: CallContext,
    ) -> catalog_service_pb2.ListModelsResponse:
        """Lists the models."""
        snapshot = self._slot.router.live(request.catalog).snapshot
        models, following = messages.page(
            sorted(snapshot.models.models, key=lambda one: one.model.id),
            size=request.page_size,
            token=request.page_token,
            revision=snapshot.revision,
        )
        return catalog_service_pb2.ListModelsResponse(
            models=[model_message(one) for one in models],
            next_page_token=following,
            catalog_revision=snapshot.revision,
        )

    async def ReloadCatalog(
        self,
        request: catalog_service_pb2.ReloadCatalogRequest,
        context: CallContext,
    ) -> catalog_service_pb2.ReloadCatalogResponse:
        """Reads the files again and puts them into service."""
        if not self._admin:
            raise NotServedError("this server does not serve ReloadCatalog here; see --admin")
        live = self._slot.router.live(request.catalog)
        reload = await live.reload(
            validate_only=request.validate_only, expected_revision=request.expected_revision
        )
        return messages.reload_message(live.name, reload)


def _check_count(field: str, count: int, most: int) -> None:
    if not 1 <= count <= most:
        raise InvalidFieldsError(
            [FieldFault(field=field, description=f"takes from 1 to {most} entries, not {count}")]
        )


def _check_least(field: str, value: int) -> None:
    if value < 0:
        raise InvalidFieldsError(
            [FieldFault(field=field, description=f"must be at least 0, not {value}")]
        )
