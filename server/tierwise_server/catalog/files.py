"""Owns reading the bytes of a catalog folder, all from one moment.

A folder may be edited while it is read, and Kubernetes swaps it as a whole by a symbolic link. So
the folder is resolved once, looked at before and after reading, and read again when they differ.
"""

import hashlib
import os
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from tierwise_server.catalog.background_file import BACKGROUND_FILE
from tierwise_server.catalog.calibration_file import CALIBRATION_FILE
from tierwise_server.catalog.case_files import CASE_FOLDER
from tierwise_server.catalog.document import FILE_START
from tierwise_server.catalog.evidence_files import EVIDENCE_FOLDER, MAX_EVIDENCE_BYTES
from tierwise_server.catalog.faults import Fault, FaultLog, FaultRule, nearest, quoted
from tierwise_server.catalog.limits_file import LIMITS_FILE
from tierwise_server.catalog.models_file import MODELS_FILE
from tierwise_server.catalog.paraphrases_file import PARAPHRASES_FILE
from tierwise_server.catalog.rules_file import RULES_FILE
from tierwise_server.catalog.settings_file import SETTINGS_FILE
from tierwise_server.catalog.tier_files import TIER_FOLDER

MAX_FILE_BYTES: Final = 16 << 20
"""Largest file."""

MAX_FILES: Final = 1000
"""Most files of a catalog."""

_ATTEMPTS: Final = 5
_PAUSE_S: Final = 0.02
_TOP_FILES: Final = (
    SETTINGS_FILE,
    RULES_FILE,
    MODELS_FILE,
    LIMITS_FILE,
    BACKGROUND_FILE,
    CALIBRATION_FILE,
    PARAPHRASES_FILE,
)
# Of the files in each folder.
_ENDINGS: Final = {
    TIER_FOLDER.rstrip("/"): ".yaml",
    CASE_FOLDER.rstrip("/"): ".yaml",
    EVIDENCE_FOLDER.rstrip("/"): ".jsonl",
}
_FOLDERS: Final = tuple(_ENDINGS)
# File systems put it at the root of a volume.
_FOREIGN_FOLDERS: Final = frozenset({"lost+found"})


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogFiles:
    """The files of a catalog as bytes, all from one moment."""

    content: Mapping[str, bytes]
    """Bytes by path inside the folder, with forward slashes."""
    faults: tuple[Fault, ...] = ()
    """What could not be read, and what does not belong there."""
    content_hash: str = field(init=False)
    """Hex hash of names, bytes and faults. Equal hashes mean that there is nothing to load anew."""

    def __post_init__(self) -> None:
        """Derives the hash."""
        digest = hashlib.sha256()
        for name, content in sorted(self.content.items()):
            digest.update(f"{len(name)} {name} {len(content)}\n".encode(errors="replace"))
            digest.update(content)
        for fault in self.faults:
            digest.update(f"{fault}\n".encode(errors="replace"))
        object.__setattr__(self, "content", MappingProxyType(dict(self.content)))
        object.__setattr__(self, "content_hash", digest.hexdigest())


def read_catalog_files(
    folder: Path, *, read_file: Callable[[Path], bytes] | None = None
) -> CatalogFiles:
    """Returns the files of a folder, all from one moment. Blocks on the disk.

    What can't be read is a fault of the result, so that it shows beside the faults of other files.

    Args:
        folder: The catalog folder, or a link to it.
        read_file: Reads one file; raises `OSError`. None reads from the disk.
    """
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE_S)
        survey = _Survey(folder)
        files = survey.read(read_file or _read_bounded)
        if _Survey(folder).fingerprint == survey.fingerprint:
            return files
    log = FaultLog()
    log.in_file(".").add(
        FILE_START,
        FaultRule.CHANGING_FILES,
        f"The files changed during each of {_ATTEMPTS} attempts to read them.",
        "Stop writing to the folder.",
    )
    return CatalogFiles(content={}, faults=log.faults)


class _Survey:
    """One look at what is in a folder, without reading it."""

    def __init__(self, folder: Path) -> None:
        self._log = FaultLog()
        self._root = Path(os.path.realpath(folder))
        self._stamps: dict[str, tuple[int, ...]] = {}
        if self._root.is_dir():
            self._look_at_top()
        else:
            message = f"There is no folder {quoted(str(folder), most=200)}."
            self._add(".", FaultRule.MISSING_FOLDER, message, "Check the path.")
        self.fingerprint = (self._root, self._stamps, self._log.faults)

    def read(self, read_file: Callable[[Path], bytes]) -> CatalogFiles:
        """Returns the files that were seen."""
        content: dict[str, bytes] = {}
        for name in self._stamps:
            try:
                content[name] = read_file(self._root / name)
            except OSError as error:
                self._add_unreadable(name, error)
        return CatalogFiles(content=content, faults=tuple(sorted(self._log.faults)))

    def _look_at_top(self) -> None:
        for name in self._names(self._root):
            path = self._root / name
            if name in _FOLDERS and path.is_dir():
                self._look_at_folder(name)
            elif name in _TOP_FILES:
                self._look_at_file(name)
            elif path.is_dir():
                if name not in _FOREIGN_FOLDERS:
                    self._refuse(name, "folder", _FOLDERS)
            elif _is_yaml(name):
                self._refuse(name, "file", _TOP_FILES)

    def _look_at_folder(self, folder: str) -> None:
        path, ending = self._root / folder, _ENDINGS[folder]
        if not self._is_inside(folder):
            return
        for name in self._names(path):
            inner = f"{folder}/{name}"
            if (path / name).is_dir():
                self._add(
                    inner,
                    FaultRule.UNKNOWN_FILE,
                    f"{quoted(inner)} is a folder; `{folder}` holds files only.",
                    f"Move its files into `{folder}`.",
                )
            elif name.endswith(ending):
                self._look_at_file(inner)
            elif _is_yaml(name) or name.casefold().endswith((".jsonl", ".json")):
                proposal = f"{folder}/{name.rpartition('.')[0]}{ending}"
                self._add(
                    inner,
                    FaultRule.UNKNOWN_FILE,
                    f"{quoted(inner)} does not end in `{ending}`.",
                    f"Rename it to {quoted(proposal)}.",
                )

    def _look_at_file(self, name: str) -> None:
        if len(self._stamps) >= MAX_FILES:
            message = f"The folder has more than {MAX_FILES} files."
            self._add(".", FaultRule.TOO_MANY_FILES, message, "Put more into each file.")
            return
        if not self._is_inside(name):
            return
        try:
            status = (self._root / name).stat()
        except OSError as error:
            self._add_unreadable(name, error)
            return
        if not stat.S_ISREG(status.st_mode):
            message = f"{quoted(name)} is not a regular file."
            self._add(name, FaultRule.NOT_A_FILE, message, "Put a regular file in its place.")
        elif status.st_size > (most := _most_bytes(name)):
            self._add(
                name,
                FaultRule.FILE_TOO_LARGE,
                f"The file has {status.st_size} bytes; the limit is {most}.",
                "Split or shorten it.",
            )
        else:
            self._stamps[name] = (
                status.st_dev,
                status.st_ino,
                status.st_size,
                status.st_mtime_ns,
                status.st_ctime_ns,
            )

    def _is_inside(self, name: str) -> bool:
        target = Path(os.path.realpath(self._root / name))
        if target.is_relative_to(self._root):
            return True
        self._add(
            name,
            FaultRule.LINK_OUTSIDE,
            f"{quoted(name)} is a link to {quoted(str(target), most=200)}, outside the folder.",
            "Put a copy in its place.",
        )
        return False

    def _names(self, folder: Path) -> list[str]:
        try:
            names = sorted(os.listdir(folder))
        except OSError as error:
            self._add_unreadable(folder.relative_to(self._root).as_posix(), error)
            return []
        # Dot names are an editor's or, as `..data`, Kubernetes'.
        shown = [name for name in names if not name.startswith(".")]
        for name in shown:
            if _is_yaml(name) and not name.isprintable():
                message = f"The name {quoted(name)} holds characters that can't be shown."
                self._add(".", FaultRule.UNKNOWN_FILE, message, "Rename the file.")
        return [name for name in shown if name.isprintable()]

    def _refuse(self, name: str, what: str, known: tuple[str, ...]) -> None:
        # The endings are alike, so they would make any two names look close.
        stems = {one.removesuffix(".yaml"): one for one in known}
        close = nearest(_stem(name).casefold(), stems)
        meant = f"Did you mean {quoted(stems[close])}?" if close else ""
        self._add(
            name,
            FaultRule.UNKNOWN_FILE,
            f"A catalog has no {what} {quoted(name)}.",
            meant or f"Known here: {', '.join(known)}. Remove it.",
        )

    def _add_unreadable(self, name: str, error: OSError) -> None:
        message = f"It can't be read: {error.strerror or error}."
        self._add(
            name, FaultRule.UNREADABLE_FILE, message, "Check that it is there for the server."
        )

    def _add(self, name: str, rule: FaultRule, message: str, suggestion: str) -> None:
        self._log.in_file(name).add(FILE_START, rule, message, suggestion)


def _most_bytes(name: str) -> int:
    return MAX_EVIDENCE_BYTES if name.endswith(".jsonl") else MAX_FILE_BYTES


def _stem(name: str) -> str:
    return name.rpartition(".")[0] if _is_yaml(name) else name


def _is_yaml(name: str) -> bool:
    return name.casefold().endswith((".yaml", ".yml"))


def _read_bounded(path: Path) -> bytes:
    # Not blocking, so that a pipe put in the file's place since the survey can't stop the reader.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        return file.read(_most_bytes(path.name) + 1)
