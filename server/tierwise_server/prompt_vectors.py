"""Prompts and what is known of them: embeds what is new, and remembers the rest.

Belongs to the event loop, but for `check_sent`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tierwise_server.deciding.asides import is_weak, without_asides
from tierwise_server.deciding.decide import Opening, close_decision
from tierwise_server.deciding.request import RoutingRequest
from tierwise_server.encoder.cache import PromptCache
from tierwise_server.encoder.lanes import (
    DeadlinePassedError,
    EncodingLanes,
    QueueFullError,
    TooLateError,
)
from tierwise_server.routing import Known, Query, Routed
from tierwise_server.scoring import phrases_of
from tierwise_server.sent_vectors import check_vector, unit_of
from tierwise_server.snapshot import Snapshot

_NO_TEXT = RoutingRequest()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Embedded:
    """What is known of a prompt, and what it took to know it."""

    known: Known
    queue_s: float = 0.0
    """Wait for a lane, in seconds."""
    encoding_s: float = 0.0
    """Time in the encoder, in seconds."""
    scoring_s: float = 0.0
    """Time that comparing it with utterances has taken already, in seconds."""
    cached: bool = False
    respelt: bool = False
    """Whether it was put right first, so that it is also what another text became."""
    aside_left: bool = False
    """Whether a clause beside the request was left out."""


class PromptVectors:
    """The encoder's lanes and the memory of recent prompts, as decisions use them."""

    def __init__(
        self,
        lanes: EncodingLanes,
        cache: PromptCache[Known],
        *,
        encoder_id: str,
        dimensions: int,
    ) -> None:
        """Takes what it needs.

        Args:
            lanes: Where prompts are embedded.
            cache: Keeps what is known of prompts.
            encoder_id: Of the encoder in the lanes.
            dimensions: Of its vectors.
        """
        self._lanes = lanes
        self._cache = cache
        self._encoder_id = encoder_id
        self._dimensions = dimensions

    def forget_scores(self) -> None:
        """Drops what was found by catalogs that may be out of service; vectors stay.

        Otherwise each remembered prompt would keep the snapshot that scored it in memory.
        """
        for known in self._cache.values():
            known.scorer = known.leads = known.answer = None

    def check_sent(self, query: Query) -> None:
        """Refuses a vector of the caller's own that cannot be one of this encoder's.

        Raises:
            RequestError: It is of another encoder, or of a wrong length or value.
        """
        if query.sent_vector is not None:
            check_vector(query.sent_vector, self._encoder_id, self._dimensions)

    def check_deadline(
        self, queries: Sequence[Query], openings: Sequence[Opening], deadline: float
    ) -> None:
        """Refuses a batch at once that would be done too late, before it costs encoder time.

        Raises:
            TooLateError: The last answer would come after the deadline.
        """
        texts = [
            query.embedded_text
            for query, opening in zip(queries, openings, strict=True)
            if opening.needs_vector
            and query.sent_vector is None
            and query.embedded_text not in self._cache
        ]
        if texts:
            self._lanes.check_deadline(texts, deadline, caller=queries[0].request.caller)

    def answer_to(self, query: Query) -> Routed | None:
        """Returns the last decision on a prompt alone; None where none is remembered."""
        known = self._cache.get(query.embedded_text)
        return known.answer if known is not None else None

    def remember(self, query: Query, embedded: Embedded, routed: Routed) -> None:
        """Keeps the decision on a prompt alone, without its text."""
        known = embedded.known
        if embedded.respelt:
            known = Known(vector=known.vector, of_other_text=True)
            self._cache.put(query.embedded_text, known)
        known.answer = _without_text(routed)

    async def known(self, text: str) -> Known:
        """Returns what is known of a text that is embedded for nobody in particular.

        Raises:
            QueueFullError: Too many prompts wait for the encoder.
        """
        known = self._cache.get(text)
        if known is None or known.of_other_text:
            encoding = await self._lanes.encode(text, None)
            known = Known(vector=encoding.vector, phrases=phrases_of(text))
            self._cache.put(text, known)
        return known

    async def embed(
        self, snapshot: Snapshot, opening: Opening, query: Query, deadline: float | None
    ) -> Embedded:
        """Returns what is known of a query's prompt, embedded where it is new.

        Without a clause beside the request where the dearest tier rests on that clause alone.

        Args:
            snapshot: What decides, and whose words say what a misspelt one is put right to.
            opening: The decision as far as it is made.
            query: The query.
            deadline: Time by `time.monotonic()` after which nobody wants the answer.

        Raises:
            QueueFullError: Too many prompts wait for the encoder.
            TooLateError: The answer would come after the deadline.
            DeadlinePassedError: The deadline passed before the prompt was embedded.
        """
        if query.sent_vector is not None:
            return Embedded(known=Known(vector=unit_of(query.sent_vector.values)))
        embedded = await self._embed(snapshot, query.embedded_text, query, deadline)
        catalog, started = snapshot.catalog, time.perf_counter()
        leads = embedded.known.leads_by(snapshot.scorer)
        embedded = replace(embedded, scoring_s=time.perf_counter() - started)
        # Where turns were joined or lines left out, no clause is beside the request.
        is_whole = query.embedded_text in query.request.text
        if not is_whole or not is_weak(leads, catalog.margin):
            return embedded
        rank = close_decision(catalog, opening, leads).tier.rank
        # Side by side, so that they take no longer than one.
        others = await asyncio.gather(
            *(
                self._embed(snapshot, rest, query, deadline)
                for rest in without_asides(query.embedded_text)
            ),
            return_exceptions=True,
        )
        encoding_s, scoring_s, longest_s = embedded.encoding_s, embedded.scoring_s, 0.0
        for other in others:
            if isinstance(other, QueueFullError | TooLateError | DeadlinePassedError):
                continue  # what there is to decide by is enough
            if isinstance(other, BaseException):
                raise other
            longest_s = max(longest_s, other.encoding_s)
            without = other.known.leads_by(snapshot.scorer)
            its_rank = close_decision(catalog, opening, without).tier.rank
            if its_rank < rank:
                # What is known of the rest alone is not to take the answer to the whole prompt.
                rank, embedded = its_rank, replace(other, respelt=True, aside_left=True)
        return replace(embedded, encoding_s=encoding_s + longest_s, scoring_s=scoring_s)

    async def _embed(
        self, snapshot: Snapshot, written: str, query: Query, deadline: float | None
    ) -> Embedded:
        text = snapshot.spelling.corrected(written)
        respelt = text != written
        keep = not query.request.keep_nothing
        if keep:
            known = self._cache.get(text)
            if known is not None and not known.of_other_text:
                return Embedded(known=known, cached=True, respelt=respelt)
        encoding = await self._lanes.encode(text, deadline, caller=query.request.caller)
        known = Known(vector=encoding.vector, phrases=phrases_of(text))
        if keep:
            self._cache.put(text, known)
        return Embedded(
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
