"""The whole benchmark as its user runs it, against a local server that answers like providers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.unit.server.benching.conftest import CITIES, SAMPLES, World, last_text

from tierwise import ErrorClass
from tierwise.testing import ReceivedCall, Reply
from tierwise_server.evidence.rows import read_rows

RUBRIC_SAMPLES = "task: sql\nrubric: It names the city.\nsamples:\n" + "".join(
    f"  - prompt: Say {city}.\n    reference: The city is {city}.\n" for city in CITIES
)


def rows(world: World, kind: str) -> list[dict[str, Any]]:
    lines = (world.folder / "run.jsonl").read_text(encoding="utf-8").splitlines()
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


def report(world: World, *more: str, samples: str = "samples.yaml") -> dict[str, Any]:
    output = world.folder / "report.json"
    world.bench("--yes", "--output", str(output), *more, samples=samples)
    found: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    return found


def test_the_cheapest_model_that_clears_the_bar_is_chosen(world: World) -> None:
    world.answers("openai", "small-1", lambda city: city < "M")
    world.answers("anthropic", "middling-1", lambda city: True)
    world.answers("openai", "big-1", lambda city: True)
    found = report(world, "--models", "small", "middling", "big", "--confidence", "0.6")
    (choice,) = found["choices"]
    assert (choice["model"], choice["tier"]) == ("middling", "mid")
    # Eight of eight make one model sure to 0.90, and one of three to a third of the doubt more.
    assert choice["confidence"] == pytest.approx(1 - 3 * (1 - 0.897), abs=0.02)
    quality = {one["model"]: one["quality"]["mean"] for one in found["cells"]}
    assert quality == {"small": 3 / 8, "middling": 1.0, "big": 1.0}
    (dominated,) = found["dominated"]
    assert (dominated["model"], dominated["by"]) == ("big", "middling")
    assert dominated["gain"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    names = [one["name"] for one in found["policies"]]
    assert names[:2] == ["always the cheapest: small", "always the dearest: big"]
    oracle = found["policies"][-1]
    assert oracle["quality"]["mean"] == 1.0
    assert oracle["cost_nano_usd"] < found["policies"][2]["cost_nano_usd"]


def test_without_a_sure_choice_it_says_what_would_make_it_sure(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.answers("openai", "small-1", lambda city: True)
    world.answers("openai", "big-1", lambda city: True)
    assert world.bench("--yes", "--models", "small", "big", "--propose") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "small is the cheapest whose mean reaches the bar" in shown
    assert "some 16 would do" in shown
    assert "sql stays in mid" in shown


def test_nothing_is_called_before_somebody_agrees(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert world.bench("--models", "small") == 2
    shown = capsys.readouterr().err
    assert "What the run will cost" in shown
    assert "say --yes" in shown
    assert world.server.calls == ()


def test_a_finished_run_is_reported_again_without_a_call(world: World) -> None:
    first = report(world, "--models", "small")
    calls = len(world.server.calls)
    assert calls == len(CITIES)
    assert report(world, "--models", "small") == first
    assert len(world.server.calls) == calls


def test_other_settings_are_refused_with_what_differs(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.bench("--yes", "--models", "small")
    kept = (world.folder / "run.jsonl").read_bytes()
    world.write("samples.yaml", SAMPLES.replace("reference: Rome", "reference: Roma"))
    capsys.readouterr()
    assert world.bench("--yes", "--models", "small", "big", "--temperature", "0.5") == 2
    shown = capsys.readouterr().err
    assert "temperature: was 'None', now '0.5'" in shown
    assert "model big: is new" in shown
    assert "prompt, references or checks have changed" in shown
    assert "--run" in shown
    assert (world.folder / "run.jsonl").read_bytes() == kept


def test_a_killed_run_goes_on_where_it_was(world: World) -> None:
    """What was answered is not asked again; what was under way counts at the most it can cost."""
    held = CITIES[5]

    def reply(call: ReceivedCall) -> Reply:
        told = last_text(call)
        return Reply.text("x").stalled(after_bytes=5) if held in told else Reply.text(told[4:-1])

    world.server.always("openai", reply, model="small-1")
    command = [sys.executable, "-m", "tierwise.cli", "bench"]
    arguments = world.arguments("--yes", "--models", "small", "--concurrency", "1")
    with subprocess.Popen([*command, *arguments], env=dict(os.environ)) as process:
        world.server.wait_for_calls(6, timeout_s=60)
        process.send_signal(signal.SIGKILL)
    before = rows(world, "answer")
    assert len(before) == 5
    world.answers("openai", "small-1", lambda city: True)
    found = report(world, "--models", "small", "--concurrency", "1")
    asked = Counter(last_text(one)[4:-1] for one in world.server.calls)
    assert asked == {city: 2 if city == held else 1 for city in CITIES}
    assert found["cells"][0]["quality"]["mean"] == 1.0
    (lost,) = rows(world, "lost")
    answered = sum(row["spent_nano_usd"] for row in rows(world, "answer"))
    assert lost["most_nano_usd"] > 4_000_000
    assert found["spent_nano_usd"] == answered + lost["most_nano_usd"]


def test_a_line_cut_in_the_middle_is_asked_again(world: World) -> None:
    world.bench("--yes", "--models", "small", "--concurrency", "1")
    path = world.folder / "run.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    found = report(world, "--models", "small", "--concurrency", "1")
    assert len(world.server.calls) == len(CITIES) + 1
    assert found["cells"][0]["scored"] == len(CITIES)


def test_the_cap_holds_with_many_calls_at_a_time(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """A call of `big` can cost 0.0431 USD: three fit, and what they leave pays for more."""
    world.answers("openai", "big-1", lambda city: True)
    status = world.bench("--yes", "--models", "big", "--max-cost", "0.13", "--concurrency", "8")
    assert status == 0
    assert sum(row["spent_nano_usd"] for row in rows(world, "answer")) <= 130_000_000
    (world.folder / "run.jsonl").unlink()
    capsys.readouterr()
    status = world.bench("--yes", "--models", "big", "--max-cost", "0.0432", "--concurrency", "8")
    assert status == 1
    assert "The cap ended the run" in capsys.readouterr().out
    spent = sum(row["spent_nano_usd"] for row in rows(world, "answer"))
    assert 0 < spent <= 43_200_000
    answered = len(rows(world, "answer"))
    assert answered < len(CITIES)
    assert world.bench("--yes", "--models", "big", "--max-cost", "1") == 0
    assert len(rows(world, "answer")) == len(CITIES)


def test_a_model_without_key_is_refused_with_the_variable(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    assert world.bench("--yes", "--models", "small", "middling") == 2
    shown = capsys.readouterr().err
    assert "set ANTHROPIC_API_KEY" in shown
    assert "--models small" in shown
    assert world.server.calls == ()
    assert not (world.folder / "run.jsonl").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--models", "smal"], "there is no model 'smal'. Did you mean `small`?"),
        (["--judge", "jugde"], "--judge: there is no model 'jugde'"),
        (["--tasks", "sqll"], "--tasks: there is no task 'sqll'"),
        (["--models", "small", "--baseline", "big"], "--baseline: there is no model 'big'"),
        (["--max-cost", "much"], "--max-cost takes US dollars"),
        (["--function", "nowhere"], "--function takes"),
        (["--function", "nowhere:to_be_found"], "No module named 'nowhere'"),
    ],
)
def test_what_is_not_there_is_named(
    world: World, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    assert world.bench("--yes", *more) == 2
    assert said in capsys.readouterr().err
    assert not (world.folder / "run.jsonl").exists()


def test_a_task_with_one_sample_is_refused(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    one = "\n".join(SAMPLES.splitlines()[:5]) + "\n"
    world.write("samples.yaml", one)
    assert world.bench("--yes", "--models", "small") == 2
    assert "sql has 1. A task needs at least 5" in capsys.readouterr().err


def test_failures_are_counted_and_asked_again(world: World) -> None:
    """A refusal is an answer of quality 0; a failure is none, and the next run repeats it."""
    world.server.script("openai", *[Reply.blocked()] * 2, model="small-1")
    world.server.script("openai", Reply.error(ErrorClass.CONTEXT_TOO_LONG), model="small-1")
    world.server.script("openai", Reply.error(ErrorClass.INVALID_REQUEST), model="small-1")
    world.answers("openai", "small-1", lambda city: True)
    found = report(world, "--models", "small", "--concurrency", "1")
    (cell,) = found["cells"]
    assert (cell["refused"], cell["failed"], cell["scored"]) == (2, 2, 6)
    assert cell["quality"]["mean"] == 4 / 6
    assert not cell["is_complete"]
    assert found["choices"][0]["model"] == ""
    (cell,) = report(world, "--models", "small", "--concurrency", "1")["cells"]
    assert (cell["refused"], cell["failed"], cell["scored"]) == (2, 1, 7)


def test_transient_failures_are_retried(world: World) -> None:
    world.server.script(
        "openai", Reply.error(ErrorClass.RATE_LIMITED, retry_after_s=0.01), model="small-1"
    )
    world.answers("openai", "small-1", lambda city: True)
    (cell,) = report(world, "--models", "small")["cells"]
    assert cell["scored"] == len(CITIES)
    assert max(row["attempts"] for row in rows(world, "answer")) == 2


def test_a_wrong_key_ends_the_calls_of_its_models_alone(world: World) -> None:
    world.server.always("openai", Reply.error(ErrorClass.AUTHENTICATION), model="small-1")
    world.answers("openai", "big-1", lambda city: True)
    found = report(world, "--models", "small", "big", "--concurrency", "1")
    assert list(found["given_up"]) == ["small"]
    assert sum(one.model == "small-1" for one in world.server.calls) == 1
    assert {one["model"]: one["scored"] for one in found["cells"]} == {"small": 0, "big": 8}


def judge_by(world: World, verdict: str) -> None:
    world.server.always("anthropic", Reply.text(verdict), model="judge-1")


def test_a_judge_that_goes_by_the_place_makes_ties(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.write("samples.yaml", RUBRIC_SAMPLES)
    judge_by(world, 'The first is clearer.\n{"better": "A"}')
    arguments = ("--yes", "--models", "small", "--judge", "judge")
    assert world.bench(*arguments) == 0
    shown = capsys.readouterr().out
    assert "goes by the place of an answer too often" in shown
    found = report(world, *arguments[1:])
    assert found["cells"][0]["quality"]["mean"] == 0.5
    assert found["judge"] == {
        "model": "judge",
        "asked": 16,
        "nonsense": 0,
        "failed": 0,
        "pairs": 8,
        "contradicted": 8,
    }


def test_a_judge_that_sees_a_difference_decides(world: World) -> None:
    world.write("samples.yaml", RUBRIC_SAMPLES)
    world.answers("openai", "small-1", lambda city: city < "M")

    def judge(call: ReceivedCall) -> Reply:
        asked = last_text(call)
        first, second = asked.split("<<answer A")[1].split("<<answer B")
        if "I don't know" in first:
            return Reply.text('{"better": "B"}')
        return Reply.text('{"better": "A"}' if "I don't know" in second else '{"better":"equal"}')

    world.server.always("anthropic", judge, model="judge-1")
    found = report(world, "--models", "small", "--judge", "judge")
    assert found["cells"][0]["quality"]["mean"] == 3 / 8
    assert found["judge"]["contradicted"] == 0


def test_nonsense_of_the_judge_is_counted_and_no_score(world: World) -> None:
    world.write("samples.yaml", RUBRIC_SAMPLES)
    judge_by(world, "Both are lovely!")
    found = report(world, "--models", "small", "--judge", "judge")
    (cell,) = found["cells"]
    assert (cell["scored"], cell["quality"], cell["is_complete"]) == (0, None, False)
    assert (found["judge"]["nonsense"], found["judge"]["asked"]) == (16, 16)


def test_a_judge_that_failed_is_asked_again_and_nonsense_is_not(world: World) -> None:
    world.write("samples.yaml", RUBRIC_SAMPLES)
    world.server.script("openai", Reply.blocked(), model="small-1")
    world.server.script("anthropic", Reply.error(ErrorClass.INVALID_REQUEST), model="judge-1")
    world.server.script("anthropic", Reply.text("Who knows?"), model="judge-1")
    judge_by(world, '{"better": "equal"}')
    arguments = ("--models", "small", "--judge", "judge", "--concurrency", "1")
    first = report(world, *arguments)
    assert (first["judge"]["asked"], first["judge"]["failed"]) == (14, 1)
    asked = len(world.server.calls)
    second = report(world, *arguments)
    assert (second["judge"]["failed"], second["judge"]["nonsense"]) == (0, 1)
    assert len(world.server.calls) == asked + 1
    (cell,) = second["cells"]
    assert (cell["refused"], cell["scored"]) == (1, 7)
    # Nothing is left to ask, so nobody has to agree.
    world.bench(*arguments)
    assert len(world.server.calls) == asked + 1


def test_answers_are_compared_with_those_of_the_baseline(world: World) -> None:
    world.write(
        "samples.yaml",
        RUBRIC_SAMPLES.replace("    reference: The city is", "    # The city is"),
    )
    judge_by(world, '{"better": "B"}')
    found = report(world, "--models", "small", "big", "--judge", "judge", "--baseline", "big")
    quality = {one["model"]: one["quality"]["mean"] for one in found["cells"]}
    assert quality == {"small": 0.5, "big": 1.0}
    assert found["judge"]["asked"] == 16


def test_samples_with_a_rubric_need_a_judge(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.write("samples.yaml", RUBRIC_SAMPLES)
    assert world.bench("--yes", "--models", "small") == 2
    assert "name a model with --judge" in capsys.readouterr().err
    assert world.bench("--yes", "--models", "small", "--no-judge") == 2
    assert "without a judge they can't be scored" in capsys.readouterr().err


def test_a_function_of_the_callers_scores(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world.write(
        "own_scorer.py",
        "def short(sample, answer):\n    return len(answer) <= len(sample.references[0])\n"
        "def broken(sample, answer):\n    return 'good'\n",
    )
    monkeypatch.chdir(world.folder)
    world.answers("openai", "small-1", lambda city: city < "M")
    found = report(world, "--models", "small", "--function", "sql=own_scorer:short")
    assert found["cells"][0]["quality"]["mean"] == 3 / 8
    (world.folder / "run.jsonl").unlink()
    assert world.bench("--yes", "--models", "small", "--function", "own_scorer:broken") == 2
    assert "own_scorer:broken returned" in capsys.readouterr().err


def test_evidence_is_written_once(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.answers("openai", "small-1", lambda city: city < "M")
    path = world.folder / "evidence.jsonl"
    for _ in range(2):
        world.bench("--yes", "--models", "small", "--evidence", str(path))
    reading = read_rows(path.read_bytes(), str(path))
    assert reading.faults == ()
    assert {one.prompt: one.quality for one in reading.rows} == {
        f"Say {city}.": float(city < "M") for city in CITIES
    }
    assert {(one.task, one.model, one.tier) for one in reading.rows} == {("sql", "small", "budget")}


def test_the_page_stands_alone(world: World) -> None:
    page = world.folder / "report.html"
    assert world.bench("--yes", "--models", "small", "big", "--output", str(page)) == 0
    text = page.read_text(encoding="utf-8")
    assert "What to use for each task" in text
    assert "://" not in text
    assert "<script" not in text
    assert [path.name for path in world.folder.glob(".report*")] == []


def test_no_key_gets_into_the_run_file(world: World) -> None:
    world.bench("--yes", "--models", "small")
    assert "sk-test" not in (world.folder / "run.jsonl").read_text(encoding="utf-8")
    assert (Path(world.folder / "run.jsonl").stat().st_mode & 0o077) == 0
