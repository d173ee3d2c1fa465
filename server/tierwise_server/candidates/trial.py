"""A candidate on trial: who gets it, and how it compares with the catalog in service."""

from __future__ import annotations

from tierwise_server.arms import Arm, Draw, draw_arm
from tierwise_server.candidates.candidate import Candidate
from tierwise_server.candidates.shadow import Embed, Shadow
from tierwise_server.candidates.tally import Tally
from tierwise_server.routing import Query, Routed, seed_of
from tierwise_server.snapshot import Snapshot


class Trial:
    """The trial of one catalog's candidate. Belongs to one event loop."""

    def __init__(self, candidate: Candidate, *, share: float, embed: Embed) -> None:
        """Takes the candidate.

        Args:
            candidate: Its files.
            share: Share of the callers that it decides for, from 0 to 1.
            embed: What embeds a prompt that only one of the two catalogs compares.
        """
        self.candidate = candidate
        self.share = share
        self.shadow = Shadow(embed)
        self._tally: Tally | None = None

    @property
    def compared(self) -> Tally | None:
        """The comparison under way, as it was last looked at. May be read from any thread."""
        return self._tally

    def tally(self, live: Snapshot) -> Tally | None:
        """Returns the comparison of what is in service now; None where there is nothing to compare.

        Edits of either begin it anew, since figures of two pairs must not be mixed.
        """
        candidate = self.candidate.snapshot
        if candidate is None or candidate.revision == live.revision:
            self._tally = None
        elif self._tally is None or not self._tally.is_of(live, candidate):
            self._tally = Tally(live=live, candidate=candidate)
        return self._tally

    def draw(self, live: Snapshot, query: Query) -> tuple[Snapshot, Draw | None]:
        """Returns the snapshot to decide a query by, and its draw where the callers are shared."""
        tally = self.tally(live) if self.share > 0.0 and self.candidate.is_ready else None
        if tally is None:
            return live, None
        request = query.request
        key = (request.affinity_key or request.caller).encode(errors="surrogatepass")
        draw = draw_arm(key or seed_of(query), self.share)
        return (tally.candidate if draw.arm is Arm.CANDIDATE else live), draw

    def decided(self, live: Snapshot, query: Query, routed: Routed) -> None:
        """Takes a decision that a caller gets."""
        tally = self.tally(live)
        if tally is None or routed.snapshot not in (tally.live, tally.candidate):
            # An edit came in between.
            return
        if routed.draw is not None:
            tally.arms[routed.draw.arm] += 1
        self.shadow.offer(query, routed, tally)
