"""From what evidence says, and how much there is, to the contract's messages."""

from __future__ import annotations

from tierwise.v1 import evidence_pb2
from tierwise_server.catalog.model import ShownEvidence
from tierwise_server.explaining import EvidenceShowing
from tierwise_server.learned import EvidenceMatch
from tierwise_server.learning import EvidenceNeed
from tierwise_server.snapshot import Snapshot


def evidence_status(need: EvidenceNeed) -> evidence_pb2.EvidenceStatus:
    """Returns how much evidence there is and how much is missing."""
    return evidence_pb2.EvidenceStatus(
        sufficient=need.is_met,
        row_count=need.row_count,
        foreign_row_count=need.foreign_count,
        tiers=[
            evidence_pb2.TierEvidence(
                tier_id=tier.tier,
                prompt_count=tier.prompt_count,
                missing_prompt_count=tier.missing_count,
            )
            for tier in need.tiers
        ],
        description=str(need),
    )


def evidence_showing(snapshot: Snapshot, showing: EvidenceShowing) -> evidence_pb2.EvidenceShowing:
    """Returns what the evidence says of a prompt; texts only where the catalog allows it."""
    catalog = snapshot.catalog
    with_prompt = catalog.learned.show is ShownEvidence.PROMPTS
    return evidence_pb2.EvidenceShowing(
        predictions=[
            evidence_pb2.TierPrediction(
                tier_id=catalog.tiers[one.rank].id,
                quality=one.quality,
                lower_bound=one.lower,
                upper_bound=one.upper,
                support=one.support,
            )
            for one in showing.predictions
        ],
        quality_bar=showing.bar,
        required_quality=showing.required,
        evidence_matches=[_match(one, with_prompt=with_prompt) for one in showing.nearest],
        status=evidence_status(snapshot.learned.need),
    )


def _match(match: EvidenceMatch, *, with_prompt: bool) -> evidence_pb2.EvidenceMatch:
    return evidence_pb2.EvidenceMatch(
        similarity=match.similarity,
        labels=[
            evidence_pb2.EvidenceLabel(
                model_id=row.model,
                tier_id=row.tier,
                quality=row.quality,
                source_file=row.file,
                source_line=row.line,
            )
            for row in match.prompt.rows
        ],
        prompt=match.prompt.text if with_prompt else "",
    )
