"""The file of utterances that stand for what no tier is for."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import pytest

from tierwise_server.catalog.faults import Fault
from tierwise_server.catalog.model import Catalog

Files: TypeAlias = dict[str, str]
Parse: TypeAlias = Callable[[Mapping[str, str | bytes]], Catalog]
FaultsOf: TypeAlias = Callable[[Mapping[str, str | bytes]], tuple[Fault, ...]]

FILE = "background.yaml"
GROUPS = """\
groups:
  devices:
    description: Commands to a device.
    utterances:
      - turn the lights off
      - set a timer
  noise:
    description: Keyboard mash.
    utterances:
      - "asdf jkl"
"""


def test_groups_are_numbered_behind_the_tasks(parse: Parse, valid_files: Files) -> None:
    catalog = parse(valid_files | {FILE: GROUPS})
    assert [(one.id, str(one.location)) for one in catalog.background] == [
        ("devices", f"{FILE}:2"),
        ("noise", f"{FILE}:7"),
    ]
    count = len(catalog.tasks)
    assert [(one.text, one.task_index) for one in catalog.background_utterances] == [
        ("turn the lights off", count),
        ("set a timer", count),
        ("asdf jkl", count + 1),
    ]
    assert not {one.text for one in catalog.utterances} & {"turn the lights off", "asdf jkl"}


def test_a_catalog_needs_no_background(parse: Parse, valid_files: Files) -> None:
    catalog = parse(valid_files)
    assert catalog.background == catalog.background_utterances == ()


def test_the_background_is_part_of_the_revision(parse: Parse, valid_files: Files) -> None:
    revisions = {
        parse(files).content_revision
        for files in (
            valid_files,
            valid_files | {FILE: GROUPS},
            valid_files | {FILE: GROUPS.replace("set a timer", "set an alarm")},
        )
    }
    assert len(revisions) == 3


@pytest.mark.parametrize(
    ("old", "new", "line", "rule"),
    [
        ("groups:", "tasks:", 1, "unknown-key"),
        ("  devices:", "  Devices:", 2, "invalid-id"),
        ("description: Commands to a device.", "threshold: 0.5", 3, "unknown-key"),
        ("      - set a timer", "      - 5", 6, "not-text"),
        ("set a timer", "Turn the lights OFF", 6, "duplicate-utterance"),
        ("set a timer", "translate this to French", 6, "duplicate-utterance"),
        ("  noise:", "  devices:", 7, "duplicate-key"),
    ],
)
def test_faults_have_their_line(
    old: str, new: str, line: int, rule: str, faults_of: FaultsOf, valid_files: Files
) -> None:
    faults = faults_of(valid_files | {FILE: GROUPS.replace(old, new)})
    assert (FILE, line, rule) in {(one.file, one.line, one.rule) for one in faults}


@pytest.mark.parametrize("content", ["groups: {}\n", "groups: []\n", "groups:\n"])
def test_no_groups_are_a_fault(content: str, faults_of: FaultsOf, valid_files: Files) -> None:
    assert {one.file for one in faults_of(valid_files | {FILE: content})} == {FILE}


def test_a_case_must_not_repeat_background(faults_of: FaultsOf, valid_files: Files) -> None:
    cases = '- prompt: "ASDF jkl"\n  tier: none\n'
    (fault,) = faults_of(valid_files | {FILE: GROUPS, "cases/more.yaml": cases})
    assert fault.file == "cases/more.yaml"
