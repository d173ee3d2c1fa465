"""The starter catalog of `tierwise init`."""

from pathlib import Path

import pytest

from tierwise_server.catalog.loader import load_catalog
from tierwise_server.catalog.scaffold import FolderNotEmptyError, write_scaffold


def test_starter_catalog_is_valid_and_small(tmp_path: Path) -> None:
    write_scaffold(tmp_path / "new" / "catalog")

    catalog = load_catalog(tmp_path / "new" / "catalog")

    assert [tier.id for tier in catalog.tiers] == ["budget", "mid", "premium"]
    assert {len(tier.tasks) for tier in catalog.tiers} == {2}
    assert {len(task.utterances) for task in catalog.tasks} == {6}
    assert {case.tier for case in catalog.cases} == {None, "budget", "mid", "premium"}
    assert catalog.rules.override
    assert catalog.rules.default
    assert not catalog.models


def test_written_files_are_listed_and_commented(tmp_path: Path) -> None:
    written = write_scaffold(tmp_path)

    assert sorted(written) == sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert all("# " in path.read_text(encoding="utf-8") for path in written)


def test_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".hidden").write_text("mine")

    with pytest.raises(FolderNotEmptyError, match="not empty"):
        write_scaffold(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == [".hidden"]


def test_file_in_place_of_the_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")

    with pytest.raises(FileExistsError):
        write_scaffold(tmp_path / "file")
