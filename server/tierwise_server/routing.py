"""What is asked of the router, and what it answers: queries and decisions."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tierwise_server.arms import Draw
from tierwise_server.deciding.decide import Opening
from tierwise_server.deciding.decision import Verdict
from tierwise_server.deciding.request import RoutingRequest
from tierwise_server.explaining import Explanation
from tierwise_server.learning import Prediction
from tierwise_server.planning.choice import ModelChoice
from tierwise_server.planning.errors import DroppedModel
from tierwise_server.planning.fleet import FleetView
from tierwise_server.scoring import NO_PHRASES, Lead, Phrases, Scorer
from tierwise_server.snapshot import Snapshot
from tierwise_server.spending.control import Reservation


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


def seed_of(query: Query) -> bytes:
    """Returns what weighted choices are keyed by where the request has no affinity key."""
    if query.sent_vector is not None:
        return query.sent_vector.values.tobytes()
    return query.request.text.encode(errors="surrogatepass")


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
    leads: tuple[Lead, ...] | None
    """Each tier's best task; None where the prompt was not compared with utterances."""
    predictions: tuple[Prediction, ...]
    """What the evidence lets expect of each tier; empty where it is not enough."""
    vector: NDArray[np.float32] | None
    """The prompt's vector; None where it was not embedded."""
    phrases: Phrases
    """Phrases of what was embedded; none where only a vector was sent."""
    timings: Timings
    fleet: FleetView
    """What was known of the models' health."""
    reservation: Reservation | None = None
    """What the caller's spend limits hold back for it; None where it has none."""
    spend_limited: bool = False
    """Whether the caller has reached a spend limit."""
    draw: Draw | None = None
    """The caller's arm, where a candidate decides for a share of them."""

    @property
    def propensity(self) -> float | None:
        """Share of all affinity keys that get this snapshot and this model.

        None where nothing was left to chance.
        """
        of_model = self.choice.propensity if self.choice is not None else None
        if self.draw is None:
            return of_model
        return self.draw.propensity * (1.0 if of_model is None else of_model)

    def after(
        self, timings: Timings, opening: Opening | None = None, draw: Draw | None = None
    ) -> Routed:
        """Returns the decision with other timings and draw, and with another opening if given.

        Written out, since every call comes by here and `dataclasses.replace` takes twice the time.
        """
        return Routed(
            catalog=self.catalog,
            snapshot=self.snapshot,
            opening=opening or self.opening,
            verdict=self.verdict,
            choice=self.choice,
            leads=self.leads,
            predictions=self.predictions,
            vector=self.vector,
            phrases=self.phrases,
            timings=timings,
            fleet=self.fleet,
            draw=draw,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Explained:
    """A decision and its explanation."""

    routed: Routed
    explanation: Explanation
    dropped_models: tuple[DroppedModel, ...]


@dataclass(slots=True, kw_only=True, eq=False)
class Known:
    """What is known of a prompt: its vector, and what the scorer that last scored it found."""

    vector: NDArray[np.float32]
    phrases: Phrases = field(default_factory=lambda: NO_PHRASES)
    """Phrases of its text; none where only a vector was sent."""
    of_other_text: bool = False
    """Whether vector and phrases are those of the text that this one is put right to. A catalog's
    words decide what that is, so that they hold for `answer` alone."""
    scorer: Scorer | None = None
    leads: tuple[Lead, ...] | None = None
    answer: Routed | None = None
    """The last decision on the prompt alone, without any wish of a caller. It is a pure function
    of the text and its snapshot, so it is the answer for as long as that is in service. Its
    opening holds no text: no prompt outlives its call."""

    def leads_by(self, scorer: Scorer) -> tuple[Lead, ...]:
        """Returns each tier's best task by a scorer, which is a pure function of both."""
        if self.leads is None or self.scorer is not scorer:
            self.leads, self.scorer = scorer.leads(self.vector, self.phrases), scorer
        return self.leads
