"""Files that people edit as well are never overwritten, and never half-written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tierwise_server.catalog.rewriting import (
    EditedMeanwhileError,
    content_of,
    replace_content,
    unified_diff,
)


def test_content_is_put_in_place_with_the_rights_it_had(tmp_path: Path) -> None:
    file = tmp_path / "one.yaml"
    file.write_bytes(b"old\n")
    file.chmod(0o640)
    replace_content(file, b"old\n", b"new\n")
    assert file.read_bytes() == b"new\n"
    assert file.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["one.yaml"]


@pytest.mark.parametrize("before", [None, b"something else\n"])
def test_a_file_edited_meanwhile_is_left_alone(tmp_path: Path, before: bytes | None) -> None:
    file = tmp_path / "one.yaml"
    file.write_bytes(b"edited\n")
    with pytest.raises(EditedMeanwhileError, match="edited meanwhile"):
        replace_content(file, before, b"new\n")
    assert file.read_bytes() == b"edited\n"
    assert os.listdir(tmp_path) == ["one.yaml"]


def test_a_file_that_appeared_or_went_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "one.yaml"
    with pytest.raises(EditedMeanwhileError):
        replace_content(file, b"old\n", b"new\n")
    assert content_of(file) is None
    replace_content(file, None, b"new\n")
    assert content_of(file) == b"new\n"


def test_a_link_stays_one(tmp_path: Path) -> None:
    real, link = tmp_path / "real.yaml", tmp_path / "link.yaml"
    real.write_bytes(b"old\n")
    link.symlink_to(real)
    replace_content(link, b"old\n", b"new\n")
    assert link.is_symlink()
    assert real.read_bytes() == b"new\n"


def test_what_changes_is_shown_as_a_unified_diff() -> None:
    assert unified_diff(b"a\nb\n", b"a\nc\n", "x.yaml") == (
        "--- a/x.yaml\n+++ b/x.yaml\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n"
    )
    assert unified_diff(None, b"a\n", "x.yaml").startswith("--- /dev/null\n+++ b/x.yaml\n")
    assert unified_diff(b"a\n", b"a\n", "x.yaml") == ""
