"""Additions go into the files, and nothing else in them moves."""

from __future__ import annotations

from pathlib import Path

import pytest

from tierwise_server.catalog.faults import CatalogInvalidError
from tierwise_server.catalog.loader import load_catalog, read_catalog_files
from tierwise_server.suggesting.case_bench import Addition
from tierwise_server.suggesting.edits import edited, write
from tierwise_server.suggesting.errors import SuggestError

TIER = """\
# About this tier.
tier: only
tasks:
  first:   # the first one
    description: 'One'
    utterances:
    - plain one
    # a remark on what follows
    - "quoted: one"   # at its end

  # Before the second.
  second:
    utterances:
        - an utterance that goes on
          over two lines
    description: Two
  third: {description: Three, utterances: [in one line]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tiers").mkdir()
    (tmp_path / "catalog.yaml").write_text("tiers: [only]\ndefault_tier: only\n")
    (tmp_path / "tiers" / "only.yaml").write_text(TIER)
    return tmp_path


def addition(text: str, task: str, description: str = "") -> Addition:
    return Addition(text=text, task=task, tier="only", description=description)


def test_lines_are_added_and_no_other_changes(folder: Path) -> None:
    files = read_catalog_files(folder)
    added = [
        addition('say "hi": now # please', "first"),
        addition("tab\there \u2028 and é", "second"),
        addition("new one", "yes", "Four: a 'new' task"),
        addition("new two", "yes", "Four: a 'new' task"),
    ]
    write(folder, files, edited(files, added))
    after = (folder / "tiers" / "only.yaml").read_text()
    kept = iter(after.splitlines())
    assert all(line in kept for line in TIER.splitlines()), "the lines before, in their order"
    assert len(after.splitlines()) == len(TIER.splitlines()) + 2 + 5
    catalog = load_catalog(folder)
    assert {task.id: [one.text for one in task.utterances] for task in catalog.tasks} == {
        "first": ["plain one", "quoted: one", 'say "hi": now # please'],
        "second": ["an utterance that goes on over two lines", "tab\there \u2028 and é"],
        "third": ["in one line"],
        "yes": ["new one", "new two"],
    }
    assert catalog.tasks[-1].description == "Four: a 'new' task"
    assert [path.name for path in (folder / "tiers").iterdir()] == ["only.yaml"]


def test_line_ends_and_a_missing_last_one_are_kept(folder: Path) -> None:
    path = folder / "tiers" / "only.yaml"
    path.write_bytes(TIER.split("  third", maxsplit=1)[0].rstrip().replace("\n", "\r\n").encode())
    files = read_catalog_files(folder)
    write(folder, files, edited(files, [addition("later", "third", "Three")]))
    assert b"\n" not in path.read_bytes().replace(b"\r\n", b"")
    assert load_catalog(folder).tasks[-1].utterances[0].text == "later"


def test_a_file_that_changed_meanwhile_is_left_alone(folder: Path) -> None:
    files = read_catalog_files(folder)
    changed = edited(files, [addition("late", "first")])
    path = folder / "tiers" / "only.yaml"
    path.write_text(TIER + "# edited\n")
    with pytest.raises(SuggestError, match="changed meanwhile"):
        write(folder, files, changed)
    assert path.read_text() == TIER + "# edited\n"


def test_what_would_be_a_fault_or_has_no_line_of_its_own_is_refused(folder: Path) -> None:
    files = read_catalog_files(folder)
    with pytest.raises(CatalogInvalidError, match="duplicate-utterance"):
        edited(files, [addition("Plain ONE", "second")])
    with pytest.raises(SuggestError, match=r"only\.yaml:17: .* in one line"):
        edited(files, [addition("more", "third")])
