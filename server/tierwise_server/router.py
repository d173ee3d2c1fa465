"""The use case: a query comes in, a decision and what it rests on go out.

Takes the snapshot once for each call, embeds only when nothing before decided, and never blocks the
event loop for long.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tierwise_server.deciding.decide import Opening, close_decision, open_decision
from tierwise_server.deciding.decision import Verdict
from tierwise_server.deciding.errors import (
    EncoderMismatchError,
    FieldFault,
    InvalidFieldsError,
    RequestError,
    each_below,
    shown,
)
from tierwise_server.deciding.language import detect_language
from tierwise_server.deciding.request import RoutingRequest
from tierwise_server.encoder.cache import PromptCache
from tierwise_server.encoder.lanes import EncodingLanes
from tierwise_server.explaining import Explanation, explain
from tierwise_server.live_catalog import LiveCatalog, RevisionMismatchError
from tierwise_server.planning.choice import ModelChoice, explain_drops, plan_models
from tierwise_server.planning.errors import DroppedModel
from tierwise_server.planning.fleet import EMPTY_FLEET
from tierwise_server.scoring.scorer import Scorer, Scores
from tierwise_server.snapshot import Snapshot

INLINE_CHARACTERS = 20_000
"""Texts up to this length are matched against rules on the event loop (under 0.3 ms); longer ones
on another thread."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SentVector:
    """A vector that a caller sent in place of text."""

    encoder_id: str
    values: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One prompt to decide on, with what is to be embedded."""

    catalog: str = ""
    """Name of the catalog; empty means the default."""
    request: RoutingRequest
    embedded_text: str = ""
    """What stands for the prompt before the encoder; empty when a vector was sent."""
    sent_vector: SentVector | None = None
    is_prompt_alone: bool = False
    """Whether there is nothing but a prompt that is embedded as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Seconds spent on one query, by stage."""

    queue_s: float = 0.0
    encoding_s: float = 0.0
    scoring_s: float = 0.0
    total_s: float = 0.0
    vector_cached: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Routed:
    """A decision with everything it rests on."""

    catalog: str
    """Name of the catalog that decided."""
    snapshot: Snapshot
    opening: Opening
    verdict: Verdict
    choice: ModelChoice | None
    """The model and the plan; None where the catalog has no models."""
    scores: Scores | None
    vector: NDArray[np.float32] | None
    """The prompt's vector; None where it was not embedded."""
    timings: Timings


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Explained:
    """A decision and its explanation."""

    routed: Routed
    explanation: Explanation
    dropped_models: tuple[DroppedModel, ...]


@dataclass(slots=True, kw_only=True, eq=False)
class Known:
    """What is known of a prompt: its vector, and its scores by the scorer that last scored it."""

    vector: NDArray[np.float32]
    scorer: Scorer | None = None
    scores: Scores | None = None
    answer: Routed | None = None
    """The last decision on the prompt alone, without any wish of a caller. It is a pure function
    of the text and its snapshot, so it is the answer for as long as that is in service. Its
    opening holds no text: no prompt outlives its call."""

    def scores_by(self, scorer: Scorer) -> Scores:
        """Returns the prompt's scores by a scorer, which are a pure function of both."""
        if self.scores is None or self.scorer is not scorer:
            self.scores, self.scorer = scorer.score(self.vector), scorer
        return self.scores


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Embedded:
    known: Known
    queue_s: float = 0.0
    encoding_s: float = 0.0
    cached: bool = False


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
    ) -> None:
        """Takes what it needs; the first catalog is the default."""
        self.catalogs = catalogs
        self._default = next(iter(catalogs))
        self._lanes = lanes
        self._cache = cache
        self._encoder_id = encoder_id
        self._dimensions = dimensions

    def forget_scores(self) -> None:
        """Drops what was found by catalogs that may be out of service; vectors stay.

        Otherwise each remembered prompt would keep the snapshot that scored it in memory.
        """
        for known in self._cache.values():
            known.scorer = known.scores = known.answer = None

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
            DeadlinePassedError: The deadline passed before the prompt was embedded.
        """
        started = time.perf_counter()
        live = self.live(query.catalog)
        snapshot = live.snapshot
        if query.is_prompt_alone:
            known = self._cache.get(query.embedded_text)
            answer = known.answer if known is not None else None
            if answer is not None and answer.snapshot is snapshot:
                spent = time.perf_counter() - started
                return replace(answer, timings=Timings(total_s=spent, vector_cached=True))
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
        """
        started = time.perf_counter()
        names = each_below(path, queries, lambda query: self.live(query.catalog).name)
        snapshots = {name: self.catalogs[name].snapshot for name in set(names)}
        openings = await asyncio.get_running_loop().run_in_executor(
            None,
            lambda: each_below(
                path,
                zip(names, queries, strict=True),
                lambda pair: self._checked_opening(snapshots[pair[0]], pair[1]),
            ),
        )
        tasks = [
            asyncio.ensure_future(
                self._finish(name, snapshots[name], query, opening, started, deadline)
            )
            for name, query, opening in zip(names, queries, openings, strict=True)
        ]
        try:
            return list(await asyncio.gather(*tasks))
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
        snapshot = live.snapshot
        if expected_revision and expected_revision != snapshot.revision:
            raise RevisionMismatchError(expected=expected_revision, actual=snapshot.revision)
        # Anew, since what is remembered of a prompt says nothing of the rules that hold for it.
        opening = await self._open(snapshot, query)
        routed = await self._finish(live.name, snapshot, query, opening, started, deadline)
        explanation = await asyncio.get_running_loop().run_in_executor(
            None,
            lambda: explain(
                routed.snapshot,
                routed.opening,
                routed.verdict,
                vector=routed.vector,
                scores=routed.scores,
                task_limit=task_limit,
            ),
        )
        dropped = explain_drops(
            routed.snapshot.models,
            routed.verdict,
            routed.opening.bounds,
            query.request,
            language=routed.opening.language,
            fleet=EMPTY_FLEET,
        )
        return Explained(routed=routed, explanation=explanation, dropped_models=dropped)

    async def _finish(
        self,
        catalog: str,
        snapshot: Snapshot,
        query: Query,
        opening: Opening,
        started: float,
        deadline: float | None,
    ) -> Routed:
        embedded = await self._embed(query, deadline) if opening.needs_vector else None
        scoring_started = time.perf_counter()
        scores = embedded.known.scores_by(snapshot.scorer) if embedded is not None else None
        scored = time.perf_counter()
        verdict = close_decision(snapshot.catalog, opening, scores)
        choice = plan_models(
            snapshot.models,
            verdict,
            opening.bounds,
            query.request,
            language=opening.language,
            fleet=EMPTY_FLEET,
            seed=_seed(query),
        )
        routed = Routed(
            catalog=catalog,
            snapshot=snapshot,
            opening=opening,
            verdict=verdict,
            choice=choice,
            scores=scores,
            vector=embedded.known.vector if embedded is not None else None,
            timings=Timings(
                queue_s=embedded.queue_s if embedded is not None else 0.0,
                encoding_s=embedded.encoding_s if embedded is not None else 0.0,
                scoring_s=scored - scoring_started,
                total_s=time.perf_counter() - started,
                vector_cached=embedded is not None and embedded.cached,
            ),
        )
        if embedded is not None and query.is_prompt_alone:
            embedded.known.answer = _without_text(routed)
        return routed

    def _checked_opening(self, snapshot: Snapshot, query: Query) -> Opening:
        if query.sent_vector is not None:
            _check_vector(query.sent_vector, self._encoder_id, self._dimensions)
        request = query.request
        language = request.language or detect_language(request.text) or ""
        return open_decision(snapshot.catalog, request, language)

    async def _open(self, snapshot: Snapshot, query: Query) -> Opening:
        if len(query.request.text) <= INLINE_CHARACTERS:
            return self._checked_opening(snapshot, query)
        return await asyncio.get_running_loop().run_in_executor(
            None, self._checked_opening, snapshot, query
        )

    async def _embed(self, query: Query, deadline: float | None) -> _Embedded:
        if query.sent_vector is not None:
            return _Embedded(known=Known(vector=_unit(query.sent_vector.values)))
        keep = not query.request.keep_nothing
        if keep:
            known = self._cache.get(query.embedded_text)
            if known is not None:
                return _Embedded(known=known, cached=True)
        encoding = await self._lanes.encode(query.embedded_text, deadline)
        known = Known(vector=encoding.vector)
        if keep:
            self._cache.put(query.embedded_text, known)
        return _Embedded(known=known, queue_s=encoding.queue_s, encoding_s=encoding.encode_s)


def _without_text(routed: Routed) -> Routed:
    """Returns a decision on a prompt alone, with nothing in it of the prompt's text."""
    opening = replace(
        routed.opening,
        request=RoutingRequest(),
        subject=routed.snapshot.catalog.rules.subject(text=""),
    )
    return replace(routed, opening=opening)


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
