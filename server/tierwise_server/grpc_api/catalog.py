"""From a catalog in service to the contract's messages."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import TypeVar

from tierwise.v1 import catalog_service_pb2
from tierwise_server.catalog.difference import Change, task_differences
from tierwise_server.catalog.faults import Fault
from tierwise_server.catalog.model import Catalog, Task, Tier
from tierwise_server.deciding.errors import FieldFault, InvalidFieldsError
from tierwise_server.grpc_api.evidence import evidence_status
from tierwise_server.live_catalog import LiveCatalog, Reload, RevisionMismatchError
from tierwise_server.snapshot import Snapshot

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1_000

_Item = TypeVar("_Item")


def catalog_message(name: str, snapshot: Snapshot) -> catalog_service_pb2.Catalog:
    """Returns a catalog as callers see it."""
    catalog = snapshot.catalog
    message = catalog_service_pb2.Catalog(
        name=name,
        revision=snapshot.revision,
        encoder_id=snapshot.encoder_id,
        scorer_id=snapshot.scorer.scorer_id,
        tier_ids=[tier.id for tier in catalog.tiers],
        default_tier_id=catalog.default_tier,
        score_threshold=catalog.base_threshold,
        tie_margin=catalog.margin,
        task_count=len(catalog.tasks),
        utterance_count=len(catalog.utterances),
        rule_count=len(catalog.rules.override) + len(catalog.rules.default),
        model_count=len(catalog.models),
        baseline_model_id=(
            snapshot.models.baseline.model.id if snapshot.models.baseline is not None else ""
        ),
    )
    message.load_time.FromDatetime(snapshot.load_time)
    return message


def status_message(
    live: LiveCatalog, decisions: int, without_index: int
) -> catalog_service_pb2.GetCatalogStatusResponse:
    """Returns how a catalog stands to its files, and how much its index is used."""
    status, snapshot = live.status, live.snapshot
    calibration = snapshot.catalog.calibration
    message = catalog_service_pb2.GetCatalogStatusResponse(
        state=catalog_service_pb2.CATALOG_STATE_FAULTY_FILES
        if status.faults
        else catalog_service_pb2.CATALOG_STATE_CURRENT,
        revision=snapshot.revision,
        decision_count=decisions,
        decision_without_index_count=without_index,
        faults=fault_messages(status.faults),
        evidence=evidence_status(snapshot.learned.need) if snapshot.catalog.evidence else None,
        calibration_state=_calibration_state(snapshot.catalog),
        calibration_id=calibration.id if calibration is not None else "",
        stale_calibration_parts=[str(bound) for bound in snapshot.catalog.stale_bounds],
    )
    message.load_time.FromDatetime(snapshot.load_time)
    message.check_time.FromDatetime(status.check_time)
    return message


def fault_messages(faults: Sequence[Fault]) -> list[catalog_service_pb2.CatalogFault]:
    """Returns faults as callers see them."""
    return [
        catalog_service_pb2.CatalogFault(
            source_file=fault.file,
            source_line=fault.line,
            rule=fault.rule,
            message=fault.message,
            suggestion=fault.suggestion,
        )
        for fault in faults
    ]


def _calibration_state(catalog: Catalog) -> catalog_service_pb2.CalibrationState.ValueType:
    if catalog.calibration is None:
        return catalog_service_pb2.CALIBRATION_STATE_ABSENT
    if catalog.stale_bounds:
        return catalog_service_pb2.CALIBRATION_STATE_STALE
    return catalog_service_pb2.CALIBRATION_STATE_CURRENT


def tier_message(catalog: Catalog, tier: Tier) -> catalog_service_pb2.Tier:
    """Returns a tier with its tasks."""
    return catalog_service_pb2.Tier(
        tier_id=tier.id,
        rank=tier.rank,
        description=tier.description,
        tasks=[_task_message(catalog, task) for task in tier.tasks],
        model_count=len(catalog.models_by_tier[tier.id]),
    )


def _task_message(catalog: Catalog, task: Task) -> catalog_service_pb2.Task:
    return catalog_service_pb2.Task(
        task_id=task.id,
        description=task.description,
        score_threshold=catalog.threshold_of(task),
        utterance_count=len(task.utterances),
        source_file=task.location.file,
        source_line=task.location.line,
    )


_CHANGES = {
    Change.ADDED: catalog_service_pb2.TASK_CHANGE_KIND_ADDED,
    Change.REMOVED: catalog_service_pb2.TASK_CHANGE_KIND_REMOVED,
    Change.MODIFIED: catalog_service_pb2.TASK_CHANGE_KIND_MODIFIED,
}


def reload_message(name: str, reload: Reload) -> catalog_service_pb2.ReloadCatalogResponse:
    """Returns what a reload did, or would do."""
    changes = task_differences(reload.before.catalog, reload.after.catalog)
    return catalog_service_pb2.ReloadCatalogResponse(
        catalog=catalog_message(name, reload.after),
        previous_revision=reload.before.revision,
        task_changes=[
            catalog_service_pb2.TaskChange(
                task_id=change.task,
                kind=_CHANGES[change.change],
                added_utterance_count=change.added_utterance_count,
                removed_utterance_count=change.removed_utterance_count,
            )
            for change in changes
        ],
    )


def page(
    items: Sequence[_Item], *, size: int, token: str, revision: str
) -> tuple[Sequence[_Item], str]:
    """Returns one page of items, and the token of the next page.

    Args:
        items: All the items, in the order of the listing.
        size: As the caller asked for; 0 means the default.
        token: Where to go on; empty means the first page.
        revision: Revision that the items belong to.

    Raises:
        InvalidFieldsError: The size is negative, or the token is none of ours.
        RevisionMismatchError: The token is of another revision.
    """
    if size < 0:
        raise InvalidFieldsError(
            [FieldFault(field="page_size", description=f"must be at least 0, not {size}")]
        )
    start = _page_start(token, revision) if token else 0
    end = start + min(size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
    following = _page_token(end, revision) if end < len(items) else ""
    return items[start:end], following


def _page_token(start: int, revision: str) -> str:
    return base64.urlsafe_b64encode(f"{revision}:{start}".encode()).decode()


def _page_start(token: str, revision: str) -> int:
    try:
        of_revision, _, start = base64.urlsafe_b64decode(token).decode().partition(":")
        position = int(start)
    except (binascii.Error, ValueError) as error:
        raise InvalidFieldsError(
            [FieldFault(field="page_token", description="is no `next_page_token` of this list")]
        ) from error
    if of_revision != revision:
        raise RevisionMismatchError(expected=of_revision, actual=revision)
    return max(position, 0)
