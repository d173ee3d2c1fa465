from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.server.benching.conftest import World

from tierwise_server.benching.errors import BenchError
from tierwise_server.benching.proposal import Proposal, apply
from tierwise_server.benching.yaml_edits import moved_entry, with_tier_of_cases, with_values
from tierwise_server.catalog.loader import load_catalog


def test_a_key_is_set_where_people_put_it() -> None:
    text = (
        "models: # all\n"
        "  - id: a\n    tier: low # cheap\n    quality: 0.5 # a guess\n"
        "  - id: b\n    tier: low\n\n    # note\n"
        "  - {id: c, tier: low,\n     more: [1,\n 2]}\n"
        "  - id: d\n    quality: '0.5'\n    tier: low\n"
    )
    values = {"a": "0.91", "b": "0.92", "c": "0.93"}
    assert with_values(text, "f", "quality", values, "tier") == (
        "models: # all\n"
        "  - id: a\n    tier: low # cheap\n    quality: 0.91 # a guess\n"
        "  - id: b\n    tier: low\n    quality: 0.92\n\n    # note\n"
        "  - {id: c, tier: low, quality: 0.93,\n     more: [1,\n 2]}\n"
        "  - id: d\n    quality: '0.5'\n    tier: low\n"
    )
    with pytest.raises(BenchError, match="f:12: `quality` can't be set here"):
        with_values(text, "f", "quality", {"d": "0.9"}, "tier")


def test_a_task_moves_with_its_comments_to_the_end_of_the_other_file() -> None:
    source = (
        "tier: low\ntasks:\n  one:\n    utterances: [a]\n  # of two\n  two:\n"
        "    utterances:\n      - b # inside\n\n  three:\n    utterances: [c]\n"
    )
    target = "tier: high\ntasks:\n    four:\n        utterances: [d]"
    left, right = moved_entry(source, "s", target, "t", "tasks", "two")
    assert left == (
        "tier: low\ntasks:\n  one:\n    utterances: [a]\n  three:\n    utterances: [c]\n"
    )
    assert right == (
        "tier: high\ntasks:\n    four:\n        utterances: [d]\n    # of two\n    two:\n"
        "      utterances:\n        - b # inside\n"
    )
    with pytest.raises(BenchError, match="braces"):
        moved_entry("tasks: {a: 1, b: 2}", "s", target, "t", "tasks", "b")


def test_cases_of_a_task_go_along() -> None:
    text = "- prompt: x\n  task: one\n  tier: low # so far\n- {prompt: y, tier: low, task: two}\n"
    assert with_tier_of_cases(text, "f", "one", "high") == text.replace("low #", "high #")
    assert with_tier_of_cases(text, "f", "two", "high") == text.replace("low, ", "high, ")


def test_the_proposal_is_shown_and_applied(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.catalog.write("cases/sql.yaml", "- prompt: one more\n  tier: mid\n  task: sql # held\n")
    before = {path: path.read_bytes() for path in world.catalog.path.rglob("*.yaml")}
    world.answers("openai", "small-1", lambda city: True)
    world.answers("openai", "big-1", lambda city: city < "M")
    arguments = ("--yes", "--models", "small", "big", "--confidence", "0.7")
    assert world.bench(*arguments, "--propose") == 0
    shown = capsys.readouterr().out
    assert "-    quality: 0.5\n+    quality: 1.00\n" in shown
    assert "+++ b/tiers/budget.yaml" in shown
    assert "-  tier: mid\n+  tier: budget\n" in shown
    assert {path: path.read_bytes() for path in before} == before
    assert world.bench(*arguments, "--apply") == 0
    catalog = load_catalog(world.catalog.path)
    assert next(one for one in catalog.tasks if one.id == "sql").tier == "budget"
    quality = {one.id: one.quality for one in catalog.models}
    assert quality == {"small": 1.0, "middling": None, "big": 0.38, "judge": None}
    assert "tier: budget # cheap" in world.catalog.read("models.yaml")
    capsys.readouterr()
    assert world.bench(*arguments, "--apply") == 0
    assert "nothing to change" in capsys.readouterr().out


@pytest.fixture
def proposal(tmp_path: Path) -> Proposal:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_bytes(b"old\n")
    return Proposal(
        before={"a.yaml": b"old\n", "b.yaml": b"old\n"},
        after={"a.yaml": b"new\n", "b.yaml": b"new\n"},
        left=(),
    )


def test_a_file_that_was_edited_meanwhile_is_not_written_over(
    proposal: Proposal, tmp_path: Path
) -> None:
    (tmp_path / "b.yaml").write_bytes(b"somebody's\n")
    with pytest.raises(BenchError, match=r"b\.yaml was edited meanwhile; nothing is written"):
        apply(proposal, tmp_path)
    contents = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert contents == {"a.yaml": b"old\n", "b.yaml": b"somebody's\n"}


def test_a_link_stays_a_link(proposal: Proposal, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "a.yaml").rename(tmp_path / "real" / "a.yaml")
    (tmp_path / "a.yaml").symlink_to("real/a.yaml")
    apply(proposal, tmp_path)
    assert (tmp_path / "a.yaml").is_symlink()
    assert (tmp_path / "real" / "a.yaml").read_bytes() == b"new\n"


def test_an_applied_file_keeps_its_permissions(proposal: Proposal, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").chmod(0o640)
    apply(proposal, tmp_path)
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {b"new\n"}
    assert (tmp_path / "a.yaml").stat().st_mode & 0o777 == 0o640
