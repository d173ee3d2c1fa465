from __future__ import annotations

import re

import pytest
from tests.conftest import REPOSITORY

from tierwise_server.benching.check_files import CHECKS
from tierwise_server.benching.errors import BenchError
from tierwise_server.benching.sample_files import (
    SampleSource,
    open_source,
    read_samples,
    shipped_sets,
)
from tierwise_server.benching.samples import CheckKind, Sample

TASKS = ("summarization", "classification", "code-writing", "logic-puzzles")


def read(text: str, name: str = "s.yaml", task: str = "") -> tuple[Sample, ...]:
    return read_samples([SampleSource(name=name, content=text.encode(), task=task)], TASKS)


def faults(text: str, name: str = "s.yaml") -> list[str]:
    with pytest.raises(BenchError) as caught:
        read(text, name)
    return str(caught.value).splitlines()[1:]


def test_what_a_file_says_holds_for_samples_that_say_nothing() -> None:
    first, second = read(
        "task: classification\nsystem: Be brief.\nrubric: Right.\nmax_output_tokens: 9\n"
        "checks: {exact: true}\nsamples:\n"
        "  - {prompt: one, reference: a}\n"
        "  - {prompt: two, reference: b, system: Be long., max_output_tokens: 7,"
        " checks: {contains: [b]}}\n"
    )
    assert (first.system, first.rubric, first.max_output_tokens) == ("Be brief.", "Right.", 9)
    assert [one.name for one in first.checks] == ["exact"]
    assert (second.system, second.max_output_tokens) == ("Be long.", 7)
    assert [one.name for one in second.checks] == ["contains"]


def test_lines_of_json_are_read_alike() -> None:
    (sample,) = read(
        '\n{"task": "classification", "prompt": "\\ud83d\\ude00 one", "reference": "12.50",'
        ' "checks": {"numeric": {"tolerance": 0.25}, "json_schema": {"type": "number",'
        ' "maximum": 20}}}\n',
        "s.jsonl",
    )
    assert sample.prompt == "\N{GRINNING FACE} one"
    assert str(sample.location) == "s.jsonl:2"
    numeric, schema = sample.checks
    assert (numeric.score("12.7"), numeric.score("12.8")) == (1.0, 0.0)
    assert (schema.kind, schema.score("20"), schema.score("21")) == (CheckKind.CONSTRAINT, 1, 0)


def test_all_faults_show_at_once_with_file_and_line() -> None:
    found = faults(
        "task: classificatoin\n"
        "samples:\n"
        "  - prompt: one\n"
        "    checks: {exact: true}\n"
        "  - prompt: two\n"
        "  - prompt: three\n"
        "    checks: {regex: '(', lenght: {max_words: 3}}\n"
        "  - prompt: four\n"
        "    checks: {length: {min_words: 5, max_words: 3}}\n"
        "  - prompt: five\n"
        "    checks: {json_schema: {type: objekt}}\n"
    )
    starts = [one.split(": ")[0] + " " + one.split(": ")[1] for one in found]
    assert starts == [
        "s.yaml:1:7 unknown-task",
        "s.yaml:3:5 missing-reference",
        "s.yaml:5:5 unscored-sample",
        "s.yaml:7:21 invalid-regex",
        "s.yaml:7:26 unknown-key",
        "s.yaml:9:23 out-of-range",
        "s.yaml:11:27 invalid-schema",
    ]
    assert "Did you mean `classification`?" in found[0]


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        ("reference: four words are here, checks: {length: {max_words: 3}}", "`length`"),
        ("references: ['12', '13'], checks: {numeric: true}", "both 12 and 13"),
        ("reference: twelve, checks: {numeric: true}", "has no number"),
        ("reference: In 1999, checks: {facts: {}}, source: In 2001", "`facts`"),
    ],
)
def test_references_that_contradict_their_checks_are_faults(sample: str, said: str) -> None:
    (fault,) = faults(f"task: classification\nsamples:\n  - {{prompt: one, {sample}}}\n")
    assert "contradictory-references" in fault
    assert said in fault


def test_the_same_prompt_with_other_references_is_a_contradiction() -> None:
    two = (
        "task: classification\nchecks: {exact: true}\nsamples:\n"
        "  - {prompt: Which one?, reference: a}\n  - {prompt: which  one?, reference: b}\n"
    )
    (fault,) = faults(two)
    assert "s.yaml:5:6: contradictory-references" in fault
    assert "s.yaml:4" in fault
    (fault,) = faults(two.replace("reference: b", "reference: A"))
    assert "duplicate-sample" in fault


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ('{"prompt": "x"', "syntax"),
        (
            '{"prompt": "x", "prompt": "y", "task": "classification", "rubric": "r"}',
            "duplicate-key",
        ),
        ('["x"]', "wrong-type"),
        ('{"prompt": 5, "task": "classification", "rubric": "r"}', "not-text"),
        ('{"prompt": "x", "rubric": "r"}', "missing-key"),
        ('{"prompt": NaN}', "syntax"),
    ],
)
def test_broken_lines_of_json_are_named(line: str, rule: str) -> None:
    found = faults(f"{line}\n", "s.jsonl")
    assert any(f"s.jsonl:1:1: {rule}:" in one for one in found)


def test_a_file_names_no_code() -> None:
    (fault,) = faults(
        "task: classification\nsamples:\n  - {prompt: x, checks: {function: 'os:abort'}}\n"
    )
    assert "unknown-key" in fault


def test_the_sets_that_come_along_hold_no_fault() -> None:
    assert set(shipped_sets()) == {
        "classification",
        "code-generation",
        "complex-reasoning",
        "summarization",
    }
    assert all(shipped_sets().values())
    for name in shipped_sets():
        samples = read_samples([open_source(name)], TASKS)
        assert len(samples) >= 12
        assert len({one.id for one in samples}) == len(samples)


def test_the_example_of_the_documentation_is_read() -> None:
    text = (REPOSITORY / "docs" / "benching.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    (sample,) = read(example)
    assert [one.name for one in sample.checks] == ["facts", "length"]
    for check in CHECKS:
        assert f"| `{check}: " in text


def test_a_set_can_be_for_another_task() -> None:
    samples = read_samples([open_source("complex-reasoning=riddles")], ["riddles"])
    assert {one.task for one in samples} == {"riddles"}
    with pytest.raises(BenchError, match="sets that come along"):
        open_source("complex-raisoning")
