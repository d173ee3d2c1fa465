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
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tierwise_server.call_limits import CallControl
from tierwise_server.deciding.decide import Opening, close_decision
from tierwise_server.deciding.errors import (
    EncoderMismatchError,
    FieldFault,
    InvalidFieldsError,
    RequestError,
    each_below,
    shown,
)
from tierwise_server.deciding.request import RoutingRequest
from tierwise_server.encoder.cache import PromptCache
from tierwise_server.encoder.lanes import EncodingLanes
from tierwise_server.explaining import explain
from tierwise_server.fleet.monitor import FleetMonitor
from tierwise_server.live_catalog import LiveCatalog, RevisionMismatchError
from tierwise_server.offline import open_by, predict
from tierwise_server.planning.choice import ModelChoice, explain_drops, plan_models
from tierwise_server.routing import Explained, Known, Query, Routed, SentVector, Timings
from tierwise_server.scoring import NO_PHRASES, phrases_of
from tierwise_server.snapshot import Snapshot
from tierwise_server.spending.control import SpendControl
from tierwise_server.spending.standing import within_limits

INLINE_CHARACTERS = 20_000
"""Texts up to this length are matched against rules on the event loop (under 0.3 ms); longer ones
on another thread."""

BATCH_PIECE = 8
"""Prompts of one batch that wait for the encoder or are in it at a time. More would stand before
the caller's other calls; fewer would let lanes idle between two of them."""

_NO_TEXT = RoutingRequest()


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Embedded:
    known: Known
    queue_s: float = 0.0
    encoding_s: float = 0.0
    cached: bool = False
    respelt: bool = False
    """Whether it was put right first, so that it is also what another text became."""


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
        self._lanes = lanes
        self._cache = cache
        self._encoder_id = encoder_id
        self._dimensions = dimensions
        self._fleet = fleet or FleetMonitor()
        self._spending = spending or SpendControl()
        self._calls = calls or CallControl()

    def forget_scores(self) -> None:
        """Drops what was found by catalogs that may be out of service; vectors stay.

        Otherwise each remembered prompt would keep the snapshot that scored it in memory.
        """
        for known in self._cache.values():
            known.scorer = known.leads = known.answer = None

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
        snapshot = live.snapshot
        if query.is_prompt_alone:
            known = self._cache.get(query.embedded_text)
            answer = known.answer if known is not None else None
            if (
                answer is not None
                and answer.snapshot is snapshot
                and answer.fleet is self._fleet.view(live.name)
            ):
                spent = time.perf_counter() - started
                return answer.after(Timings(total_s=spent, vector_cached=True))
        opening = await self._open(snapshot, query)
        return await self._finish(live.name, snapshot, query, opening, started, deadline)

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
        openings = await asyncio.get_running_loop().run_in_executor(
            None,
            lambda: each_below(
                path,
                zip(names, queries, strict=True),
                lambda pair: self._checked_opening(snapshots[pair[0]], pair[1]),
            ),
        )
        if deadline is not None:
            self._check_deadline(queries, openings, deadline)
        piece = asyncio.Semaphore(BATCH_PIECE)
        tasks = [
            asyncio.ensure_future(
                self._finish(name, snapshots[name], query, opening, started, deadline, piece=piece)
            )
            for name, query, opening in zip(names, queries, openings, strict=True)
        ]
        try:
            return list(await asyncio.gather(*tasks))
        except BaseException:
            for task in tasks:
                if task.done() and not task.cancelled() and task.exception() is None:
                    self._release(task.result())
            raise
        finally:
            # One refusal refuses the batch; what still waits must not cost encoder time.
            for task in tasks:
                task.cancel()

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
        if expected_revision and expected_revision != live.snapshot.revision:
            raise RevisionMismatchError(expected=expected_revision, actual=live.snapshot.revision)
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
        snapshot = live.snapshot
        # Anew, since what is remembered of a prompt says nothing of the rules that hold for it.
        opening = await self._open(snapshot, query)
        routed = await self._finish(live.name, snapshot, query, opening, started, deadline)
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
            seed=_seed(query),
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

    def _check_deadline(
        self, queries: Sequence[Query], openings: Sequence[Opening], deadline: float
    ) -> None:
        """Refuses a batch at once that would be done too late, before it costs encoder time."""
        texts = [
            query.embedded_text
            for query, opening in zip(queries, openings, strict=True)
            if opening.needs_vector
            and query.sent_vector is None
            and query.embedded_text not in self._cache
        ]
        if texts:
            self._lanes.check_deadline(texts, deadline, caller=queries[0].request.caller)

    async def _finish(
        self,
        catalog: str,
        snapshot: Snapshot,
        query: Query,
        opening: Opening,
        started: float,
        deadline: float | None,
        *,
        piece: asyncio.Semaphore | None = None,
    ) -> Routed:
        caller = query.request.caller
        self._spending.admit(catalog, caller)
        if not opening.needs_vector:
            embedded = None
        elif piece is None:
            embedded = await self._embed(snapshot, query, deadline)
        else:
            async with piece:
                embedded = await self._embed(snapshot, query, deadline)
        # From here on nothing waits, so that no other call spends in between.
        standing = self._spending.standing(catalog, caller)
        scoring_started = time.perf_counter()
        leads = embedded.known.leads_by(snapshot.scorer) if embedded is not None else None
        predictions = (
            predict(snapshot, opening, embedded.known.vector) if embedded is not None else ()
        )
        scored = time.perf_counter()
        verdict = close_decision(snapshot.catalog, opening, leads, predictions)
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
            seed=_seed(query),
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
                scoring_s=scored - scoring_started,
                total_s=time.perf_counter() - started,
                vector_cached=embedded is not None and embedded.cached,
            ),
            fleet=fleet,
            reservation=self._spending.reserve(catalog, caller, _first_cost(choice)),
        )
        ours_alone = query.is_prompt_alone and not standing.is_limited
        if embedded is not None and ours_alone:
            self._remember(query, embedded, _without_text(routed))
        return routed

    def _remember(self, query: Query, embedded: _Embedded, answer: Routed) -> None:
        """Keeps the answer to a prompt alone."""
        known = embedded.known
        if embedded.respelt:
            known = Known(vector=known.vector, of_other_text=True)
            self._cache.put(query.embedded_text, known)
        known.answer = answer

    def _checked_opening(self, snapshot: Snapshot, query: Query) -> Opening:
        if query.sent_vector is not None:
            _check_vector(query.sent_vector, self._encoder_id, self._dimensions)
        return open_by(snapshot, query.request)

    async def _open(self, snapshot: Snapshot, query: Query) -> Opening:
        if len(query.request.text) <= INLINE_CHARACTERS:
            return self._checked_opening(snapshot, query)
        return await asyncio.get_running_loop().run_in_executor(
            None, self._checked_opening, snapshot, query
        )

    async def _embed(self, snapshot: Snapshot, query: Query, deadline: float | None) -> _Embedded:
        if query.sent_vector is not None:
            return _Embedded(known=Known(vector=_unit(query.sent_vector.values)))
        text = snapshot.spelling.corrected(query.embedded_text)
        respelt = text != query.embedded_text
        keep = not query.request.keep_nothing
        if keep:
            known = self._cache.get(text)
            if known is not None and not known.of_other_text:
                return _Embedded(known=known, cached=True, respelt=respelt)
        encoding = await self._lanes.encode(text, deadline, caller=query.request.caller)
        known = Known(vector=encoding.vector, phrases=phrases_of(text))
        if keep:
            self._cache.put(text, known)
        return _Embedded(
            known=known,
            queue_s=encoding.queue_s,
            encoding_s=encoding.encode_s,
            respelt=respelt,
        )


def _without_text(routed: Routed) -> Routed:
    """Returns a decision on a prompt alone, with nothing in it of the prompt's text."""
    opening = routed.opening
    bare = Opening(
        request=_NO_TEXT,
        bounds=opening.bounds,
        subject=routed.snapshot.catalog.rules.subject(text=""),
        language=opening.language,
        required_capabilities=opening.required_capabilities,
        verdict=opening.verdict,
        abstention=opening.abstention,
    )
    return routed.after(routed.timings, bare)


def _first_cost(choice: ModelChoice | None) -> int:
    """Returns the estimated cost of a decision's first call; 0 where it is not known."""
    return choice.estimated_cost_nano_usd or 0 if choice is not None else 0


def _seed(query: Query) -> bytes:
    """Returns what weighted choices are keyed by where the request has no affinity key."""
    if query.sent_vector is not None:
        return query.sent_vector.values.tobytes()
    return query.request.text.encode(errors="surrogatepass")


def _unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    # In doubles, since the squares of small and large floats are zero and infinite.
    wide = values.astype(np.float64)
    return (wide / np.linalg.norm(wide)).astype(np.float32)


def _check_vector(vector: SentVector, encoder_id: str, dimensions: int) -> None:
    if vector.encoder_id != encoder_id:
        raise EncoderMismatchError(
            "embedding.encoder_id", expected=encoder_id, actual=vector.encoder_id
        )
    problem = ""
    if len(vector.values) != dimensions:
        problem = f"needs {dimensions} values, got {len(vector.values)}"
    elif not np.isfinite(vector.values).all():
        problem = "has a value that is not finite"
    elif not vector.values.any():
        problem = "must not be all zero"
    if problem:
        raise InvalidFieldsError([FieldFault(field="embedding.values", description=problem)])
