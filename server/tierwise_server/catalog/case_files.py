"""Owns the format of `cases/*.yaml`: held-out prompts and where each must go."""

from collections.abc import Mapping
from typing import Final

from tierwise_server.catalog.cases import Case, Message, Role
from tierwise_server.catalog.document import Node, Scalar
from tierwise_server.catalog.faults import FaultRule, FileFaults, quoted
from tierwise_server.catalog.ids import Location, TaskId, TierId
from tierwise_server.catalog.known import KnownIds
from tierwise_server.catalog.schema import Record, listing, read_record
from tierwise_server.catalog.values import choice, identifier, language, text
from tierwise_server.catalog.wording import normalized

CASE_FOLDER: Final = "cases/"
"""Folder of the case files inside the catalog folder."""

MAX_CASES: Final = 20_000
"""Most cases in one file."""

NO_TIER: Final = "none"
"""Stands in a case for "must match nothing"."""

_MAX_TEXT_LENGTH: Final = 200_000
_MAX_MESSAGES: Final = 200


class CaseReading:
    """Reads case files one after another; remembers the prompts, so that none comes twice."""

    def __init__(self, known: KnownIds, utterances: Mapping[str, Location]) -> None:
        """Starts a reading.

        Args:
            known: Ids that cases may name.
            utterances: Place of each normalized utterance.
        """
        self._known = known
        self._utterances = utterances
        self._places: dict[tuple[object, ...], Location] = {}

    def read(self, node: Node, faults: FileFaults) -> tuple[Case, ...]:
        """Returns the cases of a file that have no fault of their own."""
        return listing(self._case, most=MAX_CASES)(node, faults) or ()

    def _case(self, node: Node, faults: FileFaults) -> Case | None:
        record = read_record(
            node,
            faults,
            what="a case",
            required=("tier",),
            optional=("prompt", "messages", "task", "tags", "language", "previous_tier"),
        )
        if record is None:
            return None
        tier = record.read("tier", identifier)
        previous = record.read("previous_tier", identifier)
        for reference in (tier, previous):
            if reference is not None and (reference is previous or reference.text != NO_TIER):
                self._known.check_tier(reference, faults)
        task = record.read("task", identifier)
        if task is not None:
            self._check_task(task, tier, faults)
        tags = record.read("tags", listing(identifier, key=lambda tag: tag.text))
        code = record.read("language", language)
        prompt = record.read("prompt", text(most=_MAX_TEXT_LENGTH))
        messages = record.read("messages", listing(_message, most=_MAX_MESSAGES))
        if not _has_one_prompt(record, messages, faults):
            return None
        if tier is None or (prompt is None and messages is None):
            return None
        case = Case(
            prompt=prompt,
            messages=messages or (),
            tier=None if tier.text == NO_TIER else TierId(tier.text),
            task=TaskId(task.text) if task else None,
            tags=tuple(tag.text for tag in tags or ()),
            language=code,
            previous_tier=TierId(previous.text) if previous else None,
            location=Location(file=faults.file, line=record.node.line),
        )
        self._check_prompt(case, record, faults)
        return case

    def _check_task(self, task: Scalar, tier: Scalar | None, faults: FileFaults) -> None:
        self._known.check_task(task, faults)
        tier_of_task = self._known.tier_of_task
        if tier is None or tier_of_task is None or task.text not in tier_of_task:
            return
        actual = tier_of_task[task.text]
        if actual != tier.text:
            faults.add(
                task,
                FaultRule.TASK_OF_OTHER_TIER,
                f"The task {quoted(task.text)} is of the tier {quoted(actual)}, "
                f"not of {quoted(tier.text)}.",
                f"Write `tier: {actual}`, or remove the task.",
            )

    def _check_prompt(self, case: Case, record: Record, faults: FileFaults) -> None:
        place = case.location
        at = record.key("messages" if case.prompt is None else "prompt")
        turns = tuple((one.role, normalized(one.text)) for one in case.messages)
        prompt = case.prompt if case.prompt is not None else _last_user_text(case.messages)
        asked = normalized(prompt)
        first = self._places.setdefault((asked, turns, case.previous_tier, case.language), place)
        if first is not place:
            faults.add(
                at,
                FaultRule.DUPLICATE_CASE,
                f"The same case is already at {first}.",
                "Remove one of the two.",
            )
        if asked in self._utterances:
            faults.add(
                at,
                FaultRule.LEAKED_CASE,
                f"The prompt {quoted(prompt)} is an utterance at {self._utterances[asked]}, so the "
                "case measures nothing.",
                "Word it another way.",
            )


def _has_one_prompt(
    record: Record, messages: tuple[Message, ...] | None, faults: FileFaults
) -> bool:
    if record.has("prompt") == record.has("messages"):
        faults.add(
            record.node,
            FaultRule.CASE_WITHOUT_PROMPT,
            "A case has either a prompt or messages.",
            "Remove one of the two." if record.has("prompt") else "Add `prompt:`.",
        )
        return False
    if messages and not any(one.role is Role.USER for one in messages):
        faults.add(
            record.key("messages"),
            FaultRule.CASE_WITHOUT_PROMPT,
            "The conversation has no turn of the user.",
            "Add one with `role: user`.",
        )
        return False
    return True


def _message(node: Node, faults: FileFaults) -> Message | None:
    record = read_record(node, faults, what="a message", required=("role", "text"))
    if record is None:
        return None
    role = record.read("role", choice(Role))
    said = record.read("text", text(most=_MAX_TEXT_LENGTH))
    return None if role is None or said is None else Message(role=role, text=said)


def _last_user_text(messages: tuple[Message, ...]) -> str:
    return next(one.text for one in reversed(messages) if one.role is Role.USER)
