"""What a run would change in the catalog's files: `quality:` of models, and the tiers of tasks.

A proposal is a set of whole new files, checked to be a catalog. It is shown as a diff, and written
only when asked, and only over the very files that it was made from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from tierwise_server.benching.errors import BenchError
from tierwise_server.benching.findings import Findings
from tierwise_server.benching.yaml_edits import moved_entry, with_tier_of_cases, with_values
from tierwise_server.catalog.case_files import CASE_FOLDER
from tierwise_server.catalog.faults import CatalogInvalidError
from tierwise_server.catalog.files import CatalogFiles
from tierwise_server.catalog.ids import TaskId
from tierwise_server.catalog.loader import parse_catalog
from tierwise_server.catalog.model import Catalog
from tierwise_server.catalog.models_file import MODELS_FILE
from tierwise_server.catalog.rewriting import (
    EditedMeanwhileError,
    Rewrite,
    replace_contents,
    unified_diff,
)
from tierwise_server.catalog.tier_files import TIER_FOLDER


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """New texts of files, by path inside the catalog's folder."""

    before: Mapping[str, bytes]
    after: Mapping[str, bytes]
    """Files that get or lose nothing are not among them. Those that get something come first."""
    left: tuple[str, ...]
    """What is left to a person, in sentences."""

    def diff(self) -> str:
        """Returns the change of all files as a unified diff. Empty when nothing changes."""
        return "".join(
            unified_diff(self.before[name], after, name) for name, after in self.after.items()
        )


def propose(found: Findings, catalog: Catalog, files: CatalogFiles) -> Proposal:
    """Returns what the findings would change.

    `quality:` of each model is its mean over the tasks, to two digits. A task goes to the tier of
    the cheapest model that clears the bar with the confidence asked for; without one it stays.

    Raises:
        BenchError: An edited file would not make a catalog, or has a form that is not edited.
    """
    texts = {name: content.decode("utf-8-sig") for name, content in files.content.items()}
    changed: dict[str, None] = {}
    left: list[str] = []
    values = {model: f"{one.mean:.2f}" for model, one in found.overall.items()}
    if values:
        edited = with_values(texts[MODELS_FILE], MODELS_FILE, "quality", values, "tier")
        if edited != texts[MODELS_FILE]:
            texts[MODELS_FILE] = edited
            changed[MODELS_FILE] = None
    for choice in found.choices:
        task = catalog.task_by_id[TaskId(choice.task)]
        if not choice.model:
            left.append(f"{choice.task} stays in {task.tier}: {choice.reason}.")
        elif choice.tier != task.tier:
            source, target = (f"{TIER_FOLDER}{one}.yaml" for one in (task.tier, choice.tier))
            if len(catalog.tier_by_id[task.tier].tasks) == 1:
                left.append(
                    f"{choice.task} belongs into {choice.tier}, but is the only task of"
                    f" {task.tier}: a tier needs one."
                )
                continue
            texts[source], texts[target] = moved_entry(
                texts[source], source, texts[target], target, "tasks", choice.task
            )
            # Written first: a task that is there twice is a fault, one that is lost is a loss.
            changed = {target: None, **changed, source: None}
            for name in [one for one in texts if one.startswith(CASE_FOLDER)]:
                edited = with_tier_of_cases(texts[name], name, choice.task, choice.tier)
                if edited != texts[name]:
                    texts[name] = edited
                    changed[name] = None
    after = {name: texts[name].encode() for name in changed}
    _check(files, after)
    return Proposal(
        before={name: files.content[name] for name in after}, after=after, left=tuple(left)
    )


def apply(proposal: Proposal, folder: Path) -> None:
    """Writes the new files. A crash leaves each file either old or new.

    Raises:
        BenchError: A file has changed since it was read, or can't be written. Nothing is changed
            unless the disk itself fails between two files.
    """
    rewrites = [
        Rewrite(path=folder / name, before=proposal.before[name], after=after)
        for name, after in proposal.after.items()
    ]
    try:
        replace_contents(rewrites)
    except EditedMeanwhileError as error:
        raise BenchError(str(error)) from error
    except OSError as error:
        raise BenchError(f"cannot write into {folder}: {error.strerror}") from error


def _check(files: CatalogFiles, after: Mapping[str, bytes]) -> None:
    content = MappingProxyType({**files.content, **after})
    try:
        parse_catalog(replace(files, content=content))
    except CatalogInvalidError as error:
        raise BenchError(
            f"the proposal would not make a catalog, so there is none: {error}"
        ) from error
