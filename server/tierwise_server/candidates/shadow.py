"""Decides again, by the other of two catalogs, what a caller already has the answer to.

One at a time on the event loop, between the calls, and with a limit on what waits: where there is
no time for it, decisions are dropped and counted, and no caller waits for a comparison.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from tierwise_server.arms import Arm
from tierwise_server.candidates.tally import Decided, NotCompared, Tally
from tierwise_server.deciding.decide import Opening
from tierwise_server.deciding.errors import RequestError
from tierwise_server.encoder.lanes import LanesClosedError, QueueFullError
from tierwise_server.offline import INLINE_CHARACTERS, close_by, open_by
from tierwise_server.planning.choice import plan_models
from tierwise_server.planning.fleet import FleetView
from tierwise_server.routing import Known, Query, Routed, seed_of
from tierwise_server.scoring import NO_PHRASES
from tierwise_server.snapshot import Snapshot

logger = logging.getLogger(__name__)

MAX_WAITING = 256
"""Decisions that wait to be made again."""

MAX_WAITING_CHARACTERS = 4_000_000
"""Characters of their prompts, which are in memory for as long."""

Embed = Callable[[str], Awaitable[Known]]
"""Returns what is known of a text, from the cache or the encoder."""


class _Waiting(NamedTuple):
    query: Query
    vector: Known | None
    by: Arm
    decided: Decided
    fleet: FleetView
    tally: Tally


class Shadow:
    """Takes decisions and makes them again. Belongs to one event loop."""

    def __init__(self, embed: Embed) -> None:
        """Takes what embeds a prompt that only the other catalog compares, or spells otherwise."""
        self._embed = embed
        self._waiting: asyncio.Queue[_Waiting] = asyncio.Queue(MAX_WAITING)
        self._characters = 0

    def offer(self, query: Query, routed: Routed, tally: Tally) -> None:
        """Takes a decision that a caller gets, to be compared when there is time."""
        if query.request.keep_nothing:
            tally.not_compared[NotCompared.KEEP_NOTHING] += 1
            return
        if routed.spend_limited:
            tally.not_compared[NotCompared.SPEND_LIMIT] += 1
            return
        characters = len(query.request.text)
        if self._waiting.full() or self._characters + characters > MAX_WAITING_CHARACTERS:
            tally.not_compared[NotCompared.BUSY] += 1
            return
        self._characters += characters
        vector = None
        if routed.vector is not None:
            vector = Known(vector=routed.vector, phrases=routed.phrases)
        self._waiting.put_nowait(
            _Waiting(
                query=query,
                vector=vector,
                by=Arm.CANDIDATE if routed.snapshot is tally.candidate else Arm.LIVE,
                decided=Decided.of(routed.verdict, routed.choice),
                fleet=routed.fleet,
                tally=tally,
            )
        )

    async def run(self) -> None:
        """Compares what is offered until it is cancelled."""
        while True:
            one = await self._waiting.get()
            self._characters -= len(one.query.request.text)
            try:
                await self._compare(one)
            except (RequestError, QueueFullError, LanesClosedError) as error:
                is_busy = not isinstance(error, RequestError)
                reason = NotCompared.BUSY if is_busy else NotCompared.FAILED
                one.tally.not_compared[reason] += 1
            except Exception as error:  # noqa: BLE001 - said by its name
                # A bug of ours, which must not end the comparison; the message may hold a prompt.
                logger.error(  # noqa: TRY400 - so would the traceback
                    "a decision could not be made again", extra={"error": type(error).__name__}
                )
                one.tally.not_compared[NotCompared.FAILED] += 1
            # Calls that came meanwhile go first.
            await asyncio.sleep(0)

    async def _compare(self, one: _Waiting) -> None:
        tally = one.tally
        if one.by is Arm.LIVE:
            tally.add(one.decided, await self._decide(one, tally.candidate))
        else:
            tally.add(await self._decide(one, tally.live), one.decided)

    async def _decide(self, one: _Waiting, snapshot: Snapshot) -> Decided:
        query, request = one.query, one.query.request
        opening = await _open(snapshot, query)
        known = await self._known(one, snapshot) if opening.needs_vector else None
        verdict = close_by(
            snapshot,
            opening,
            known.vector if known is not None else None,
            known.phrases if known is not None else NO_PHRASES,
        )
        choice = plan_models(
            snapshot.models,
            verdict,
            opening.bounds,
            request,
            language=opening.language,
            fleet=one.fleet,
            seed=seed_of(query),
        )
        return Decided.of(verdict, choice)

    async def _known(self, one: _Waiting, snapshot: Snapshot) -> Known:
        tally, text = one.tally, one.query.embedded_text
        if one.vector is not None and (tally.spells_alike or one.query.sent_vector is not None):
            return one.vector
        by = tally.live if one.by is Arm.LIVE else tally.candidate
        spelt = snapshot.spelling.corrected(text)
        if one.vector is not None and spelt == by.spelling.corrected(text):
            return one.vector
        return await self._embed(spelt)


async def _open(snapshot: Snapshot, query: Query) -> Opening:
    if len(query.request.text) <= INLINE_CHARACTERS:
        return open_by(snapshot, query.request)
    return await asyncio.to_thread(open_by, snapshot, query.request)
