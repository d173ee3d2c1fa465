"""The use case: a query comes in, a decision and what it rests on go out.

Takes the snapshot once for each call, embeds only when nothing before decided, and never blocks the
event loop for long.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, Self

from tierwise_server.arms import FORCED, Arm, Draw
from tierwise_server.call_limits import CallControl
from tierwise_server.candidates.trial import Trial
from tierwise_server.deciding.decide import Opening, close_decision
from tierwise_server.deciding.errors import (
    RequestError,
    each_below,
    shown,
)
from tierwise_server.encoder.cache import PromptCache
from tierwise_server.encoder.lanes import EncodingLanes
from tierwise_server.explaining import explain
from tierwise_server.fleet.monitor import FleetMonitor
from tierwise_server.live_catalog import LiveCatalog, RevisionMismatchError
from tierwise_server.offline import INLINE_CHARACTERS, open_by, predict
from tierwise_server.planning.choice import ModelChoice, explain_drops, plan_models
from tierwise_server.planning.errors import NoModelQualifiesError
from tierwise_server.prompt_vectors import PromptVectors
from tierwise_server.routing import (
    Explained,
    Known,
    Query,
    Routed,
    Timings,
    seed_of,
)
from tierwise_server.scoring import NO_PHRASES
from tierwise_server.snapshot import Snapshot
from tierwise_server.spending.control import SpendControl
from tierwise_server.spending.standing import within_limits

BATCH_PIECE = 8
"""Prompts of one batch that wait for the encoder or are in it at a time. More would stand before
the caller's other calls; fewer would let lanes idle between two of them."""

ASIDE_LEFT = "A clause beside the request, which alone would ask for a dearer tier, is left out."


class UnknownCatalogError(RequestError):
    """A catalog that the server does not serve."""

    def __init__(self, field: str, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"{field}: no catalog {shown(name)} here; it serves {', '.join(known)}")
        self.field = field
        self.name = name
        self.known = known

    def below(self, path: str) -> Self:
        """Returns the error with a path put before that of the field."""
        return type(self)(f"{path}.{self.field}", self.name, self.known)


class _Start(NamedTuple):
    """What a decision begins with."""

    snapshot: Snapshot
    opening: Opening
    draw: Draw | None


class Router:
    """Decides on queries with the catalogs, encoder and cache of one server."""

    def __init__(
        self,
        catalogs: Mapping[str, LiveCatalog],
        lanes: EncodingLanes,
        cache: PromptCache[Known],
        *,
        encoder_id: str,
        dimensions: int,
        fleet: FleetMonitor | None = None,
        spending: SpendControl | None = None,
        calls: CallControl | None = None,
    ) -> None:
        """Takes what it needs; the first catalog is the default.

        Args:
            catalogs: By name.
            lanes: Where prompts are embedded.
            cache: Keeps what is known of prompts.
            encoder_id: Of the encoder in the lanes.
            dimensions: Of its vectors.
            fleet: What observes the models. None where no outcomes come in.
            spending: What holds callers to their limits. None where nobody spends.
            calls: What holds callers to how much they may call. None where nobody does.
        """
        self.catalogs = catalogs
        self._default = next(iter(catalogs))
        self._prompts = PromptVectors(lanes, cache, encoder_id=encoder_id, dimensions=dimensions)
        self.known = self._prompts.known
        """Returns what is known of a text that is embedded for nobody in particular."""
        self._fleet = fleet or FleetMonitor()
        self._spending = spending or SpendControl()
        self._calls = calls or CallControl()
        self.trials: dict[str, Trial] = {}
        """Candidates by the name of the catalog that they are tried beside."""

    def forget_scores(self) -> None:
        """Drops what was found by catalogs that may be out of service; vectors stay."""
        self._prompts.forget_scores()

    def live(self, name: str) -> LiveCatalog:
        """Returns a catalog by name; the empty name means the default.

        Raises:
            UnknownCatalogError: There is none of that name.
        """
        try:
            return self.catalogs[name or self._default]
        except KeyError:
            raise UnknownCatalogError("catalog", name, tuple(self.catalogs)) from None

    async def route(self, query: Query, *, deadline: float | None = None) -> Routed:
        """Decides on one query.

        Args:
            query: What to decide on.
            deadline: Time by `time.monotonic()` after which nobody wants the answer.

        Raises:
            UnknownCatalogError: The server does not serve the catalog.
            RequestError: The request cannot be decided as it is.
            QueueFullError: Too many prompts wait for the encoder.
            TooLateError: The answer would come after the deadline.
            DeadlinePassedError: The deadline passed before the prompt was embedded.
            SpendLimitReachedError: The caller has spent what it may.
            CallLimitReachedError: The caller calls more than it may.
        """
        started = time.perf_counter()
        live = self.live(query.catalog)
        with self._calls.entered(live.name, query.request.caller):
            return await self._route(live, query, started, deadline)

    async def _route(
        self, live: LiveCatalog, query: Query, started: float, deadline: float | None
    ) -> Routed:
        routed = await self._decided(live, live.snapshot, query, started, deadline)
        trial = self.trials.get(live.name)
        if trial is not None:
            trial.decided(live.snapshot, query, routed)
        return routed

    async def _decided(
        self,
        live: LiveCatalog,
        served: Snapshot,
        query: Query,
        started: float,
        deadline: float | None,
    ) -> Routed:
        snapshot, draw = self._drawn(live.name, served, query)
        if query.is_prompt_alone:
            answer = self._prompts.answer_to(query)
            if (
                answer is not None
                and answer.snapshot is snapshot
                and answer.fleet is self._fleet.view(live.name)
            ):
                spent = time.perf_counter() - started
                return answer.after(Timings(total_s=spent, vector_cached=True), draw=draw)
        start = await self._start(served, snapshot, draw, query)
        return await self._finish(live.name, served, query, start, started, deadline)

    async def route_all(
        self, queries: Sequence[Query], *, path: str, deadline: float | None = None
    ) -> list[Routed]:
        """Decides on several queries by one revision of each catalog; all of them or none.

        Args:
            queries: What to decide on.
            path: Path of the list of queries, for errors.
            deadline: Time by `time.monotonic()` after which nobody wants the answer.

        Raises:
            RequestError: With the faults of every query.
            QueueFullError: Too many prompts wait for the encoder.
            TooLateError: The last answer would come after the deadline.
            DeadlinePassedError: The deadline passed before every prompt was embedded.
            SpendLimitReachedError: A caller has spent what it may.
            CallLimitReachedError: A caller calls more than it may.
        """
        started = time.perf_counter()
        names = each_below(path, queries, lambda query: self.live(query.catalog).name)
        callers = (query.request.caller for query in queries)
        with contextlib.ExitStack() as entered:
            for (name, caller), count in Counter(zip(names, callers, strict=True)).items():
                entered.enter_context(self._calls.entered(name, caller, count))
            return await self._route_all(queries, names, path, started, deadline)

    async def _route_all(
        self,
        queries: Sequence[Query],
        names: Sequence[str],
        path: str,
        started: float,
        deadline: float | None,
    ) -> list[Routed]:
        snapshots = {name: self.catalogs[name].snapshot for name in set(names)}
        drawn = [
            (snapshots[name], *self._drawn(name, snapshots[name], query), query)
            for name, query in zip(names, queries, strict=True)
        ]
        starts = await asyncio.get_running_loop().run_in_executor(
            None, lambda: each_below(path, drawn, lambda one: self._checked_start(*one))
        )
        if deadline is not None:
            self._prompts.check_deadline(queries, [one.opening for one in starts], deadline)
        piece = asyncio.Semaphore(BATCH_PIECE)
        tasks = [
            asyncio.ensure_future(
                self._finish(name, snapshots[name], query, start, started, deadline, piece=piece)
            )
            for name, query, start in zip(names, queries, starts, strict=True)
        ]
        try:
            decided = list(await asyncio.gather(*tasks))
        except BaseException:
            for task in tasks:
                if task.done() and not task.cancelled() and task.exception() is None:
                    self._release(task.result())
            raise
        finally:
            # One refusal refuses the batch; what still waits must not cost encoder time.
            for task in tasks:
                task.cancel()
        for name, query, routed in zip(names, queries, decided, strict=True):
            if name in self.trials:
                self.trials[name].decided(self.catalogs[name].snapshot, query, routed)
        return decided

    async def explain(
        self,
        query: Query,
        *,
        task_limit: int,
        expected_revision: str = "",
        deadline: float | None = None,
    ) -> Explained:
        """Decides on one query and shows what the decision rests on.

        Args:
            query: What to decide on.
            task_limit: Most tasks to show.
            expected_revision: Revision that has to be in service; empty skips the check.
            deadline: Time by `time.monotonic()` after which nobody wants the answer.

        Raises:
            RevisionMismatchError: Another revision is in service.
        """
        started = time.perf_counter()
        live = self.live(query.catalog)
        snapshot, _ = self._drawn(live.name, live.snapshot, query)
        if expected_revision and expected_revision != snapshot.revision:
            raise RevisionMismatchError(expected=expected_revision, actual=snapshot.revision)
        with self._calls.entered(live.name, query.request.caller):
            return await self._explain(live, query, task_limit, started, deadline)

    async def _explain(
        self,
        live: LiveCatalog,
        query: Query,
        task_limit: int,
        started: float,
        deadline: float | None,
    ) -> Explained:
        served = live.snapshot
        # Anew, since what is remembered of a prompt says nothing of the rules that hold for it.
        start = await self._start(served, *self._drawn(live.name, served, query), query)
        routed = await self._finish(live.name, served, query, start, started, deadline)
        self._release(routed)
        explanation = await asyncio.get_running_loop().run_in_executor(
            None,
            lambda: explain(
                routed.snapshot,
                routed.opening,
                routed.verdict,
                vector=routed.vector,
                phrases=routed.phrases,
                leads=routed.leads,
                predictions=routed.predictions,
                task_limit=task_limit,
            ),
        )
        dropped = explain_drops(
            routed.snapshot.models,
            routed.verdict,
            routed.opening.bounds,
            routed.opening.request,
            language=routed.opening.language,
            fleet=routed.fleet,
            seed=seed_of(query),
        )
        return Explained(routed=routed, explanation=explanation, dropped_models=dropped)

    def confirm(self, routed: Routed, decision_id: str) -> None:
        """Has what a decision holds back of the caller's limits end with its outcome."""
        if routed.reservation is not None:
            self._spending.confirm(routed.reservation, decision_id)

    def _release(self, routed: Routed) -> None:
        """Ends what a decision holds back that nobody gets."""
        if routed.reservation is not None:
            self._spending.release(routed.reservation)

    async def _finish(
        self,
        catalog: str,
        served: Snapshot,
        query: Query,
        start: _Start,
        started: float,
        deadline: float | None,
        *,
        piece: asyncio.Semaphore | None = None,
    ) -> Routed:
        try:
            return await self._finish_by(catalog, query, start, started, deadline, piece)
        except NoModelQualifiesError:
            if start.snapshot is served:
                raise
        start = await self._start(served, served, FORCED, query)
        return await self._finish_by(catalog, query, start, started, deadline, piece)

    async def _finish_by(
        self,
        catalog: str,
        query: Query,
        start: _Start,
        started: float,
        deadline: float | None,
        piece: asyncio.Semaphore | None,
    ) -> Routed:
        snapshot, opening = start.snapshot, start.opening
        caller = query.request.caller
        self._spending.admit(catalog, caller)
        if not opening.needs_vector:
            embedded = None
        elif piece is None:
            embedded = await self._prompts.embed(snapshot, opening, query, deadline)
        else:
            async with piece:
                embedded = await self._prompts.embed(snapshot, opening, query, deadline)
        # From here on nothing waits, so that no other call spends in between.
        standing = self._spending.standing(catalog, caller)
        scoring_started = time.perf_counter()
        leads = embedded.known.leads_by(snapshot.scorer) if embedded is not None else None
        predictions = (
            predict(snapshot, opening, embedded.known.vector) if embedded is not None else ()
        )
        scored = time.perf_counter()
        verdict = close_decision(snapshot.catalog, opening, leads, predictions)
        if embedded is not None and embedded.aside_left:
            verdict = replace(verdict, reason=f"{verdict.reason} {ASIDE_LEFT}")
        if standing.is_limited:
            self._spending.note(catalog, standing)
            has_unpriced = bool(snapshot.models.unpriced.any())
            opening, verdict = within_limits(
                standing, snapshot.catalog, opening, verdict, has_unpriced=has_unpriced
            )
        fleet = self._fleet.view(catalog)
        choice = plan_models(
            snapshot.models,
            verdict,
            opening.bounds,
            opening.request,
            language=opening.language,
            fleet=fleet,
            seed=seed_of(query),
        )
        routed = Routed(
            catalog=catalog,
            snapshot=snapshot,
            opening=opening,
            verdict=verdict,
            choice=choice,
            leads=leads,
            predictions=predictions,
            vector=embedded.known.vector if embedded is not None else None,
            phrases=embedded.known.phrases if embedded is not None else NO_PHRASES,
            timings=Timings(
                queue_s=embedded.queue_s if embedded is not None else 0.0,
                encoding_s=embedded.encoding_s if embedded is not None else 0.0,
                scoring_s=scored - scoring_started + (embedded.scoring_s if embedded else 0.0),
                total_s=time.perf_counter() - started,
                vector_cached=embedded is not None and embedded.cached,
            ),
            fleet=fleet,
            reservation=self._spending.reserve(catalog, caller, _first_cost(choice)),
            spend_limited=bool(standing.reached),
            draw=start.draw,
        )
        ours_alone = query.is_prompt_alone and not standing.is_limited
        if embedded is not None and ours_alone:
            self._prompts.remember(query, embedded, routed)
        return routed

    def _drawn(self, name: str, served: Snapshot, query: Query) -> tuple[Snapshot, Draw | None]:
        """Returns what is to decide: what is in service, or the candidate for some callers."""
        trial = self.trials.get(name)
        return (served, None) if trial is None else trial.draw(served, query)

    def _checked_start(
        self, served: Snapshot, snapshot: Snapshot, draw: Draw | None, query: Query
    ) -> _Start:
        self._prompts.check_sent(query)
        if draw is not None and draw.arm is Arm.CANDIDATE:
            try:
                return _Start(snapshot, open_by(snapshot, query.request), draw)
            except RequestError:
                # It names what the candidate does not have: no fault of the caller's.
                snapshot, draw = served, FORCED
        return _Start(snapshot, open_by(snapshot, query.request), draw)

    async def _start(
        self, served: Snapshot, snapshot: Snapshot, draw: Draw | None, query: Query
    ) -> _Start:
        if len(query.request.text) <= INLINE_CHARACTERS:
            return self._checked_start(served, snapshot, draw, query)
        return await asyncio.get_running_loop().run_in_executor(
            None, self._checked_start, served, snapshot, draw, query
        )


def _first_cost(choice: ModelChoice | None) -> int:
    """Returns the estimated cost of a decision's first call; 0 where it is not known."""
    return choice.estimated_cost_nano_usd or 0 if choice is not None else 0
