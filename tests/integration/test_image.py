"""The image, made by its Dockerfile's own steps in folders, runs as its user and holds no torch."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import CALL_TIMEOUT_S, LIKE, REPOSITORY, run_tierwise

sys.path.insert(0, str(REPOSITORY / "tests" / "benchmarks"))  # as its programs import each other

from dockerfile import DOCKERFILE, Image, build, read_stages
from image import SIZE_LIMIT_MB, Started, started

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def image(encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Image:
    folder = tmp_path_factory.mktemp("image")
    for one in (folder, folder.parent, folder.parent.parent):
        # The image's user has to get there.
        one.chmod(0o755)
    return build(folder / "stages", artifacts={"encoder": encoder_dir})


@pytest.fixture(scope="module")
def running(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    with started(image, tmp_path_factory.mktemp("state")) as running:
        yield running


def test_it_is_small_and_holds_no_torch_and_no_installer(image: Image) -> None:
    assert image.size_mb() <= SIZE_LIMIT_MB
    packages = {path.name for path in (image.root / "opt/tierwise/lib").iterdir()}
    assert {"tierwise", "tierwise_server", "onnxruntime", "psycopg"} <= packages
    assert not packages & {"torch", "sentence_transformers", "onnx", "pip", "bin"}


def test_it_routes_as_a_user_who_owns_none_of_its_programs(image: Image, running: Started) -> None:
    status = Path(f"/proc/{running.pid}/status").read_text(encoding="utf-8")
    (uid,) = [line.split()[1] for line in status.splitlines() if line.startswith("Uid:")]
    assert int(uid) == image.user().get("user", os.geteuid())
    server = f"127.0.0.1:{running.port}"
    ended = run_tierwise("route", "--server", server, "--timeout", "60", LIKE["budget"])
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("budget")
    for path in (image.root / "opt/tierwise").rglob("*"):
        assert path.stat().st_uid == os.geteuid(), f"{path} belongs to the user who runs it"


def test_its_health_check_succeeds_while_it_serves(image: Image, running: Started) -> None:
    words = image.stage.command("HEALTHCHECK")
    assert words[:4] == ["tierwise", "health", "--server", "127.0.0.1:50051"]
    for port, code in ((running.port, 0), (1, 1)):
        done = subprocess.run(
            image.command("health", "--server", f"127.0.0.1:{port}", "--timeout", "60"),
            env=image.environment(),
            capture_output=True,
            text=True,
            timeout=CALL_TIMEOUT_S * 3,
            check=False,
            **image.user(),
        )
        assert done.returncode == code, done.stderr


def test_each_stage_copies_only_what_is_not_ignored_and_the_last_one_is_no_root() -> None:
    stages = read_stages(DOCKERFILE.read_text(encoding="utf-8"))
    ignore = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text(encoding="utf-8")
    sent = {line.removeprefix("!") for line in ignore.splitlines() if line.startswith("!")}
    copied = {
        source
        for stage in stages
        for one in stage.instructions
        if one.name == "COPY" and "from" not in one.flags
        for source in one.words[:-1]
    }
    assert copied == sent
    last = stages[-1]
    assert last.base.endswith("-slim-bookworm")
    assert [one.flags.get("from") for one in last.instructions if one.name == "COPY"] == [
        "packages"
    ] * 3
    assert not [one for one in last.instructions if one.name == "RUN"]
    assert int(last.last("USER").words[0].split(":")[0]) > 0
