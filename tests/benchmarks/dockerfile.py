"""Carries out a Dockerfile's own steps in folders, where there is no Docker.

Reads the instructions that the shipped one uses. Each stage is a folder; absolute paths below
`/src`, `/opt/tierwise`, `/var/cache/tierwise` and `/var/lib` lead into it. The base image is stood
in for by a new virtual environment, so that nothing but what is copied can be imported.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
DOCKERFILE = REPOSITORY / "deploy" / "docker" / "Dockerfile"
STEP_TIMEOUT_S = 900
_OWN_PATHS = re.compile(r"(?<![\w./])/(?=src\b|opt/tierwise|var/cache/tierwise|var/lib\b)")
_KNOWN = {
    *("ARG", "FROM", "WORKDIR", "COPY", "RUN", "LABEL", "ENV", "USER", "EXPOSE"),
    *("HEALTHCHECK", "ENTRYPOINT", "CMD"),
}


class DockerfileError(Exception):
    """The file has something that this can't carry out, or a step failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One instruction."""

    name: str
    rest: str

    @property
    def flags(self) -> dict[str, str]:
        """Options before the arguments: `--from=packages`."""
        found = re.findall(r"(?:^|\s)--([a-z-]+)=(\S+)", self.rest)
        return dict(found)

    @property
    def words(self) -> list[str]:
        """Arguments without the options."""
        return [word for word in shlex.split(self.rest) if not word.startswith("--")]


@dataclass(slots=True, kw_only=True)
class Stage:
    """One stage: its name, and what is done in it."""

    name: str
    base: str
    instructions: list[Instruction] = field(default_factory=list)

    def last(self, name: str) -> Instruction:
        """Returns the instruction that counts of those of a name."""
        return [one for one in self.instructions if one.name == name][-1]

    def command(self, name: str) -> list[str]:
        """Returns the words of `ENTRYPOINT`, `CMD` or `HEALTHCHECK`, which must be a JSON list."""
        words: list[str] = json.loads(self.last(name).rest[self.last(name).rest.index("[") :])
        return words

    @property
    def environment(self) -> dict[str, str]:
        """Variables that the stage sets."""
        pairs = [word for one in self.instructions if one.name == "ENV" for word in one.words]
        return dict(pair.split("=", 1) for pair in pairs)


def read_stages(text: str) -> list[Stage]:
    """Returns the stages of a Dockerfile.

    Raises:
        DockerfileError: It has an instruction that is not known here.
    """
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    stages: list[Stage] = []
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        if not line.strip():
            continue
        name, _, rest = line.strip().partition(" ")
        if name not in _KNOWN:
            raise DockerfileError(f"cannot carry out: {line}")
        if name == "FROM":
            base, _, alias = rest.partition(" AS ")
            stages.append(Stage(name=alias or str(len(stages)), base=base))
        elif stages:
            stages[-1].instructions.append(Instruction(name=name, rest=rest.strip()))
    return stages


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What the last stage holds beyond its base."""

    stage: Stage
    root: Path
    python: Path
    """Folder of the interpreter that stands in for that of the base."""

    def size_mb(self) -> float:
        """Returns the size of all files, in millions of bytes."""
        files = (path for path in self.root.rglob("*") if path.is_file() and not path.is_symlink())
        return sum(path.stat().st_size for path in files) / 1e6

    def environment(self) -> dict[str, str]:
        """Returns the variables of a process in it, none of this process's."""
        values = {name: _within(self.root, one) for name, one in self.stage.environment.items()}
        return {**values, "PATH": f"{self.root}/opt/tierwise/bin:{self.python}:/usr/bin:/bin"}

    def command(self, *words: str) -> list[str]:
        """Returns the command line of its entry point."""
        (entry,) = self.stage.command("ENTRYPOINT")
        return [str(self.root / "opt/tierwise/bin" / entry), *words]

    def user(self) -> dict[str, Any]:
        """Returns how `subprocess` is told of the image's user; nothing where that takes rights."""
        if os.geteuid() != 0 or not _can_all_reach(self.python.resolve() / "python"):
            return {}
        uid, gid = (int(one) for one in self.stage.last("USER").rest.split(":"))
        return {"user": uid, "group": gid, "extra_groups": ()}


def build(folder: Path, *, artifacts: Mapping[str, Path]) -> Image:
    """Carries out the shipped Dockerfile.

    Args:
        folder: Where the stages go; must not exist.
        artifacts: Stages that are not carried out, by name, with the folder that stands for
            `/opt/tierwise/encoder` of theirs.

    Raises:
        DockerfileError: A step failed.
    """
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    python = _base(folder / "base")
    stages = read_stages(DOCKERFILE.read_text(encoding="utf-8"))
    for stage in stages:
        root = folder / stage.name
        root.mkdir()
        if stage.name in artifacts:
            target = root / "opt/tierwise/encoder"
            shutil.copytree(artifacts[stage.name], target)
            continue
        for one in stage.instructions:
            if one.name == "COPY":
                _copy(one, folder, root)
            elif one.name == "RUN":
                _run(one, root, python)
    return Image(stage=stages[-1], root=folder / stages[-1].name, python=python)


def _copy(one: Instruction, folder: Path, root: Path) -> None:
    *sources, target = one.words
    source_root = folder / one.flags["from"] if "from" in one.flags else REPOSITORY
    for source in sources:
        origin = source_root / source.lstrip("/")
        place = Path(_within(root, target)) if target.startswith("/") else root / "src" / target
        if origin.is_dir():
            skipped = shutil.ignore_patterns() if "from" in one.flags else _ignored
            shutil.copytree(origin, place, dirs_exist_ok=True, ignore=skipped, symlinks=True)
        else:
            place = place / origin.name if target.endswith("/") else place
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(origin, place)
        if os.geteuid() == 0 and "chown" in one.flags:
            for path in (place, *place.rglob("*")):
                os.chown(path, *(int(owner) for owner in one.flags["chown"].split(":")))


def _ignored(folder: str, names: Sequence[str]) -> set[str]:
    """Returns what `.dockerignore` keeps out."""
    examples = {"examples"} if Path(folder) == REPOSITORY / "client" else set()
    return {"__pycache__"} | examples


def _run(one: Instruction, root: Path, python: Path) -> None:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "VIRTUAL"))
    }
    done = subprocess.run(
        ["/bin/sh", "-c", _within(root, one.rest)],
        cwd=root / "src",
        env={**environment, "PATH": f"{python}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=STEP_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise DockerfileError(f"RUN {one.rest}\n{done.stdout[-1000:]}{done.stderr[-3000:]}")


def _can_all_reach(path: Path) -> bool:
    """Returns whether every user can run a program."""
    real = path.resolve()
    return all(one.stat().st_mode & stat.S_IXOTH for one in (real, *real.parents, *path.parents))


def _within(root: Path, text: str) -> str:
    return _OWN_PATHS.sub(f"{root}/", text)


def _base(folder: Path) -> Path:
    """Makes a Python with nothing but pip, which other users can run as well where there is one."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    candidates = [f"/usr/local/bin/{version}", f"/usr/bin/{version}", sys.executable]
    for candidate in candidates:
        if not Path(candidate).exists():
            continue
        done = subprocess.run(
            [candidate, "-m", "venv", str(folder)], capture_output=True, timeout=120, check=False
        )
        if done.returncode == 0:
            return folder / "bin"
        shutil.rmtree(folder, ignore_errors=True)
    raise DockerfileError(f"none of {candidates} makes a virtual environment")
