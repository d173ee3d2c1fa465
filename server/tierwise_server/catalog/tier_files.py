"""Owns the format of `tiers/<tier>.yaml`: the tasks of a tier and their utterances."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tierwise_server.catalog.document import Entry, Node, Scalar
from tierwise_server.catalog.faults import FaultLog, FaultRule, FileFaults, quoted
from tierwise_server.catalog.ids import RESERVED_IDS, Location
from tierwise_server.catalog.schema import listing, mapping_entries, read_record
from tierwise_server.catalog.settings_file import THRESHOLD
from tierwise_server.catalog.values import identifier, scalar_text, text
from tierwise_server.catalog.wording import normalized

TIER_FOLDER: Final = "tiers/"
"""Folder of the tier files inside the catalog folder."""

MAX_TASKS: Final = 1000
"""Most tasks of a catalog."""

MAX_UTTERANCES: Final = 100_000
"""Most utterances of a catalog."""

MAX_PROMPT_LENGTH: Final = 2000
"""Longest utterance in characters; the encoder reads an excerpt of less."""

MAX_DESCRIPTION_LENGTH: Final = 1000
"""Longest description in characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDraft:
    """A task as one file has it."""

    id: Scalar
    description: str
    threshold: float | None
    utterances: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TierDraft:
    """A tier as its file has it."""

    file: str
    id: str
    description: str
    threshold: float | None
    tasks: tuple[TaskDraft, ...]
    line: int


def tier_file(tier: str) -> str:
    """Returns the path of a tier's file."""
    return f"{TIER_FOLDER}{tier}.yaml"


def read_tier(node: Node, faults: FileFaults) -> TierDraft | None:
    """Returns the tier of a file; its id is the file's name."""
    record = read_record(
        node,
        faults,
        what="a tier",
        required=("tier", "tasks"),
        optional=("description", "threshold"),
    )
    if record is None:
        return None
    stem = faults.file.removeprefix(TIER_FOLDER).removesuffix(".yaml")
    named = record.read("tier", identifier)
    if named is not None and named.text != stem:
        faults.add(
            named,
            FaultRule.MISNAMED_TIER_FILE,
            f"The file {quoted(faults.file)} holds the tier {quoted(named.text)}.",
            f"Write `tier: {stem}` or rename the file to {quoted(tier_file(named.text))}.",
        )
    return TierDraft(
        file=faults.file,
        id=stem,
        description=record.read("description", text(most=MAX_DESCRIPTION_LENGTH)) or "",
        threshold=record.read("threshold", THRESHOLD),
        tasks=record.read("tasks", _tasks) or (),
        line=record.key("tier").line,
    )


def check_tasks(
    drafts: Sequence[TierDraft], tiers: Collection[str] | None, log: FaultLog
) -> Mapping[str, str]:
    """Adds the faults that show only when the tiers are put together.

    Args:
        drafts: Tiers in order.
        tiers: Ids of all tiers, or None when they can't be told.
        log: Where faults go.

    Returns:
        The tier of each task.
    """
    tier_of_task: dict[str, str] = {}
    places: dict[str, Location] = {}
    for draft in drafts:
        faults = log.in_file(draft.file)
        for task in draft.tasks:
            _check_task_id(task.id, tiers or (), places, faults)
            tier_of_task.setdefault(task.id.text, draft.id)
            if len(places) == MAX_TASKS + 1 and task.id.text in places:
                message = f"The catalog has more than {MAX_TASKS} tasks."
                faults.add(task.id, FaultRule.TOO_MANY_TASKS, message)
                return tier_of_task
    return tier_of_task


def check_utterances(
    utterances: Mapping[str, Sequence[Scalar]], log: FaultLog
) -> Mapping[str, Location]:
    """Adds a fault for each utterance that is there twice.

    Args:
        utterances: Those of each file.
        log: Where faults go.

    Returns:
        The place of each normalized utterance.
    """
    places: dict[str, Location] = {}
    for file, listed in utterances.items():
        faults = log.in_file(file)
        for utterance in listed:
            key = normalized(utterance.text)
            if key in places:
                faults.add(
                    utterance,
                    FaultRule.DUPLICATE_UTTERANCE,
                    f"The utterance {quoted(utterance.text)} is already at {places[key]}.",
                    "Remove one of the two.",
                )
            elif len(places) == MAX_UTTERANCES:
                message = f"The catalog has more than {MAX_UTTERANCES} utterances."
                faults.add(utterance, FaultRule.TOO_MANY_UTTERANCES, message)
                return places
            else:
                places[key] = Location(file=file, line=utterance.line)
    return places


def _check_task_id(
    task: Scalar, tiers: Collection[str], places: dict[str, Location], faults: FileFaults
) -> None:
    if task.text in tiers:
        faults.add(
            task,
            FaultRule.AMBIGUOUS_ID,
            f"{quoted(task.text)} is the id of a tier, so a label could mean either.",
            "Give the task another id.",
        )
    place = Location(file=faults.file, line=task.line)
    first = places.setdefault(task.text, place)
    if first is not place:
        faults.add(
            task,
            FaultRule.DUPLICATE_TASK,
            f"The task {quoted(task.text)} is already at {first}.",
            "Give one of the two another id.",
        )


def _tasks(node: Node, faults: FileFaults) -> tuple[TaskDraft, ...] | None:
    entries = mapping_entries(node, faults, what="tasks")
    if entries is None:
        return None
    if not entries:
        faults.add(
            node,
            FaultRule.EMPTY_TASKS,
            "The tier has no tasks.",
            "Add one, or remove the tier.",
        )
        return None
    drafts = (_task(entry, faults) for entry in entries)
    return tuple(draft for draft in drafts if draft is not None)


def _task(entry: Entry, faults: FileFaults) -> TaskDraft | None:
    name = identifier(entry.key, faults)
    if name is not None and name.text in RESERVED_IDS:
        faults.add(
            name,
            FaultRule.RESERVED_ID,
            f"{quoted(name.text)} stands for what matches nothing.",
            "Give the task another id.",
        )
    record = read_record(
        entry.value,
        faults,
        what="a task",
        required=("description", "utterances"),
        optional=("threshold",),
    )
    if record is None:
        return None
    utterances = listing(scalar_text(most=MAX_PROMPT_LENGTH), most=MAX_UTTERANCES)
    return TaskDraft(
        id=name or entry.key,
        description=record.read("description", text(most=MAX_DESCRIPTION_LENGTH)) or "",
        threshold=record.read("threshold", THRESHOLD),
        utterances=record.read("utterances", utterances) or (),
    )
