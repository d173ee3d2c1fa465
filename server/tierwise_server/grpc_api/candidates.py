"""From a candidate on trial to the contract's message."""

from __future__ import annotations

from tierwise.v1 import catalog_service_pb2
from tierwise_server.arms import Arm
from tierwise_server.candidates.tally import Tally
from tierwise_server.candidates.trial import Trial
from tierwise_server.grpc_api.catalog import fault_messages
from tierwise_server.live_catalog import LiveCatalog


def candidate_message(
    live: LiveCatalog, trial: Trial | None
) -> catalog_service_pb2.GetCandidateStatusResponse:
    """Returns how a catalog's candidate stands and compares."""
    message = catalog_service_pb2.GetCandidateStatusResponse(
        state=catalog_service_pb2.CANDIDATE_STATE_ABSENT,
        revision=live.snapshot.revision,
        content_hash=live.content_hash,
    )
    if trial is None:
        return message
    candidate, tally = trial.candidate, trial.tally(live.snapshot)
    message.canary_share = trial.share
    if candidate.snapshot is not None:
        message.candidate_revision = candidate.snapshot.revision
        message.candidate_content_hash = candidate.content_hash
        message.state = catalog_service_pb2.CANDIDATE_STATE_SAME
    if tally is not None:
        message.state = catalog_service_pb2.CANDIDATE_STATE_COMPARED
        _fill_figures(message, tally)
    if candidate.faults:
        message.state = catalog_service_pb2.CANDIDATE_STATE_FAULTY_FILES
        message.faults.extend(fault_messages(candidate.faults))
    return message


def _fill_figures(message: catalog_service_pb2.GetCandidateStatusResponse, tally: Tally) -> None:
    message.start_time.FromDatetime(tally.start_time)
    message.live_decision_count = tally.arms[Arm.LIVE]
    message.candidate_decision_count = tally.arms[Arm.CANDIDATE]
    for reason, count in tally.not_compared.items():
        message.uncompared_counts[str(reason)] = count
    for cell, counts in sorted(tally.cells.items(), key=lambda one: (-one[1].decisions, one[0])):
        message.differences.add(
            task_id=cell.task,
            tier_id=cell.tier,
            candidate_tier_id=cell.candidate_tier,
            decision_count=counts.decisions,
            other_task_count=counts.other_task,
            priced_count=counts.priced,
            cost_nano_usd=counts.cost_nano_usd,
            candidate_cost_nano_usd=counts.candidate_cost_nano_usd,
        )
