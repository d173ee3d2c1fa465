"""Owns the format of `background.yaml`: utterances that stand for prompts that no tier is for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tierwise_server.catalog.document import Entry, Node, Scalar
from tierwise_server.catalog.faults import FaultRule, FileFaults
from tierwise_server.catalog.schema import listing, mapping_entries, read_record
from tierwise_server.catalog.tier_files import (
    MAX_DESCRIPTION_LENGTH,
    MAX_PROMPT_LENGTH,
    MAX_TASKS,
    MAX_UTTERANCES,
)
from tierwise_server.catalog.values import identifier, scalar_text, text

BACKGROUND_FILE: Final = "background.yaml"
"""Path of the file inside the catalog folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackgroundDraft:
    """A group of background utterances as the file has it."""

    id: Scalar
    description: str
    utterances: tuple[Scalar, ...]


def read_background(node: Node, faults: FileFaults) -> Sequence[BackgroundDraft]:
    """Returns the groups that have no fault of their own."""
    record = read_record(node, faults, what="the background", required=("groups",))
    return (record and record.read("groups", _groups)) or ()


def _groups(node: Node, faults: FileFaults) -> tuple[BackgroundDraft, ...] | None:
    entries = mapping_entries(node, faults, what="groups")
    if entries is None:
        return None
    if not entries:
        faults.add(node, FaultRule.EMPTY_LIST, "There are no groups.", "Add one, or remove it.")
        return None
    if len(entries) > MAX_TASKS:
        message = f"There are {len(entries)} groups; the limit is {MAX_TASKS}."
        faults.add(entries[MAX_TASKS].key, FaultRule.TOO_MANY_TASKS, message)
        return None
    drafts = (_group(entry, faults) for entry in entries)
    return tuple(draft for draft in drafts if draft is not None)


def _group(entry: Entry, faults: FileFaults) -> BackgroundDraft | None:
    name = identifier(entry.key, faults)
    record = read_record(
        entry.value, faults, what="a group", required=("description", "utterances")
    )
    if record is None:
        return None
    utterances = listing(scalar_text(most=MAX_PROMPT_LENGTH), most=MAX_UTTERANCES)
    return BackgroundDraft(
        id=name or entry.key,
        description=record.read("description", text(most=MAX_DESCRIPTION_LENGTH)) or "",
        utterances=record.read("utterances", utterances) or (),
    )
