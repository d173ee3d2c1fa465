"""The commands as people and scripts use them."""

from __future__ import annotations

import io
import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import (
    LIKE,
    LIKE_NOTHING,
    CatalogFolder,
    ServeProcess,
    StartServe,
    tierwise_command,
    write_catalog,
)

from tierwise import cli
from tierwise.v1.decision_pb2 import Decision
from tierwise.v1.explanation_pb2 import Explanation


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What a command has printed, and its exit status."""

    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Ended]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory, encoder_dir: Path) -> Path:
    """A cache folder with the built encoder where the commands look for it."""
    folder = tmp_path_factory.mktemp("cache")
    (folder / "encoder").symlink_to(encoder_dir)
    return folder


@pytest.fixture
def run(cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process, with that cache."""
    monkeypatch.setenv("TIERWISE_CACHE_DIR", str(cache))
    monkeypatch.delenv("TIERWISE_SERVER", raising=False)
    monkeypatch.delenv("TIERWISE_ENCODER", raising=False)

    def go(*words: str, piped: str = "") -> Ended:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(piped.encode()), "utf-8"))
        capsys.readouterr()
        code = cli.main(words)
        printed = capsys.readouterr()
        return Ended(returncode=code, stdout=printed.out, stderr=printed.err)

    return go


@pytest.fixture
def server(start_serve: StartServe, catalog: CatalogFolder) -> tuple[str, ServeProcess]:
    """A server process and its address."""
    running = start_serve("--catalog", str(catalog.path))
    return f"127.0.0.1:{running.port()}", running


def succeeded(ended: Ended) -> str:
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def failed(ended: Ended, code: int, *parts: str) -> str:
    """Returns the one line of a command that failed with a code."""
    assert ended.returncode == code, ended.stderr
    assert ended.stdout == ""
    lines = ended.stderr.strip().splitlines()
    assert "Traceback" not in ended.stderr
    assert lines
    for part in parts:
        assert part in lines[0]
    return lines[0]


def proto_names(message: type[Any]) -> set[str]:
    return {field.name for field in message.DESCRIPTOR.fields}


# The command itself ----------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"]])
def test_help_lists_every_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 0
    printed = capsys.readouterr().out
    assert all(f"  {name} " in printed for name in cli.SUMMARIES)


def test_no_command_shows_the_help_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert "commands:" in capsys.readouterr().out


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("tierwise 0.")


def test_an_unknown_command_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["rout"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("tierwise rout: ")
    assert "route" in lines[0]


@pytest.mark.parametrize("command", list(cli.SUMMARIES))
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0
    assert f"usage: tierwise {command}" in capsys.readouterr().out


@pytest.mark.parametrize("command", list(cli.SUMMARIES))
def test_misuse_is_told_with_exit_2(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--no-such-flag"])
    assert ended.value.code == 2
    assert capsys.readouterr().err


# route and explain -----------------------------------------------------------------------------


def test_route_works_without_a_server(run: Run, catalog: CatalogFolder) -> None:
    printed = succeeded(run("route", "--catalog", str(catalog.path), LIKE["budget"]))
    assert printed.splitlines()[0] == "budget / summarization  (semantic)"
    assert "score" in printed
    assert "at revision" in printed


def test_route_as_json_is_one_object_with_the_names_of_the_contract(
    run: Run, catalog: CatalogFolder
) -> None:
    printed = succeeded(run("route", "--json", "--catalog", str(catalog.path), LIKE["mid"]))
    decision = json.loads(printed)["decision"]
    assert set(decision) <= proto_names(Decision)
    assert (decision["tier_id"], decision["kind"]) == ("mid", "DECISION_KIND_SEMANTIC")
    assert len(printed.strip().splitlines()) == 1


def test_route_answers_the_same_with_and_without_a_server(
    run: Run, catalog: CatalogFolder, server: tuple[str, ServeProcess]
) -> None:
    for prompt in (LIKE["premium"], LIKE_NOTHING):
        local, remote = (
            json.loads(succeeded(run("route", "--json", *where, prompt)))["decision"]
            for where in (("--catalog", str(catalog.path)), ("--server", server[0]))
        )
        for decision in (local, remote):
            for varying in ("decision_id", "decision_token", "timings"):
                del decision[varying]
        # To the last digits of single precision, which the place of a matrix in memory may change.
        for name in ("score", "margin", "similarity"):
            assert local.pop(name) == pytest.approx(remote.pop(name), abs=1e-6)
        assert local == remote


def test_options_become_limits_of_the_request(
    run: Run, server: tuple[str, ServeProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIERWISE_SERVER", server[0])

    def tier(*options: str) -> str:
        printed = succeeded(run("route", "--json", *options, LIKE["budget"]))
        return str(json.loads(printed)["decision"]["tier_id"])

    assert tier() == "budget"
    assert tier("--tier", "premium") == "premium"
    assert tier("--lowest-tier", "mid") == "mid"
    assert tier("--quality", "high") == "premium"
    assert tier("--rules-only") == "mid"
    assert tier("--rules-only", "--previous-tier", "premium") == "premium"


def test_a_prompt_may_come_from_standard_input_or_as_json(run: Run, catalog: CatalogFolder) -> None:
    where = ("--catalog", str(catalog.path))
    printed = succeeded(run("route", *where, "-", piped=LIKE["premium"]))
    assert printed.startswith("premium")
    turns = {"conversation": {"messages": [{"role": "MESSAGE_ROLE_USER", "text": LIKE["mid"]}]}}
    printed = succeeded(run("route", *where, "--input", json.dumps(turns)))
    assert printed.startswith("mid")


def test_explain_shows_scores_utterances_and_flips(run: Run, catalog: CatalogFolder) -> None:
    where = ("--catalog", str(catalog.path))
    printed = succeeded(run("explain", *where, LIKE["budget"]))
    assert printed.startswith("budget / summarization")
    assert "tiers/budget.yaml:" in printed
    assert "tier        premium" in printed
    assert "would flip" in printed
    answer = json.loads(succeeded(run("explain", "--json", "--tasks", "2", *where, LIKE["budget"])))
    assert set(answer["explanation"]) <= proto_names(Explanation)
    assert len(answer["explanation"]["tasks"]) == 2


def test_a_flip_says_on_which_side_of_the_threshold_it_lies(
    run: Run, catalog: CatalogFolder
) -> None:
    catalog.replace("catalog.yaml", "threshold: 0.3", "threshold: 0.99")
    printed = succeeded(run("explain", "--catalog", str(catalog.path), LIKE["budget"]))
    assert printed.startswith("mid  (default)")
    assert "to budget / summarization with a threshold below" in printed


@pytest.mark.parametrize(
    ("words", "code", "parts"),
    [
        (("route",), 2, ("give a prompt",)),
        (("route", " "), 1, ("INVALID_ARGUMENT", "input.prompt")),
        (("route", "--tier", "gold", "x"), 1, ("NOT_FOUND", "gold")),
        (("route", "--dial", "7", "x"), 1, ("INVALID_ARGUMENT", "cost_quality_dial")),
        (("route", "--input", "{"), 2, ("--input",)),
        (("route", "--input", '{"colour": 1}'), 2, ("--input",)),
        (("explain", "--expected-revision", "other", "x"), 1, ("ABORTED", "other")),
        (("route", "--server", "127.0.0.1:1", "--timeout", "2", "x"), 1, ("UNAVAILABLE",)),
        (("reload", "--server", "127.0.0.1:1", "--timeout", "2"), 1, ("UNAVAILABLE",)),
    ],
)
def test_a_failure_is_one_line_with_the_code(
    run: Run, catalog: CatalogFolder, words: tuple[str, ...], code: int, parts: tuple[str, ...]
) -> None:
    where = () if "--server" in words else ("--catalog", str(catalog.path))
    failed(run(*words, *where), code, f"tierwise {words[0]}: ", *parts)


def test_two_pins_at_once_are_misuse(run: Run, catalog: CatalogFolder) -> None:
    ended = run("route", "--catalog", str(catalog.path), "--tier", "mid", "--model", "m", "x")
    assert ended.returncode in {1, 2}
    assert "--model" in ended.stderr


def test_a_broken_catalog_is_one_line(run: Run, catalog: CatalogFolder) -> None:
    catalog.write("catalog.yaml", "tiers: []\n")
    failed(
        run("route", "--catalog", str(catalog.path), "x"), 2, "tierwise route: ", "catalog.yaml:1"
    )


def test_a_folder_name_may_hold_an_equals_sign(run: Run, tmp_path: Path) -> None:
    catalog = write_catalog(tmp_path / "date=today")
    printed = succeeded(run("route", "--catalog", str(catalog.path), LIKE["budget"]))
    assert printed.startswith("budget")


def test_a_prompt_that_is_not_utf_8_is_one_line(catalog: CatalogFolder, cache: Path) -> None:
    command = [
        os.fsencode(word) for word in tierwise_command("route", "--catalog", str(catalog.path))
    ]
    env = {**os.environ, "TIERWISE_CACHE_DIR": str(cache)}
    for words, piped in (([b"\xff\xfe"], None), ([b"-"], b"\xff\xfe")):
        ended = subprocess.run(
            [*command, *words], input=piped, capture_output=True, timeout=100, env=env, check=False
        )
        assert ended.returncode in {1, 2}
        assert b"Traceback" not in ended.stderr
        assert len(ended.stderr.splitlines()) == 1


def test_the_encoder_folder_may_be_named_by_variable(
    run: Run,
    catalog: CatalogFolder,
    encoder_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TIERWISE_ENCODER", str(encoder_dir))
    monkeypatch.setenv("TIERWISE_CACHE_DIR", str(tmp_path / "empty"))
    printed = succeeded(run("route", "--catalog", str(catalog.path), LIKE["budget"]))
    assert printed.startswith("budget")
    assert not (tmp_path / "empty" / "encoder").exists()


# reload ----------------------------------------------------------------------------------------


def test_reload_shows_what_changed(
    run: Run, catalog: CatalogFolder, server: tuple[str, ServeProcess]
) -> None:
    unchanged = succeeded(run("reload", "--server", server[0]))
    assert "(unchanged, 30 utterances)" in unchanged
    text = catalog.read("tiers/mid.yaml")
    catalog.write(
        "tiers/mid.yaml", text + "  poems:\n    description: d\n    utterances: [a poem]\n"
    )
    changed = json.loads(succeeded(run("reload", "--json", "--server", server[0])))
    assert changed["catalog"]["utterance_count"] == 31
    catalog.write("tiers/mid.yaml", text)
    validated = succeeded(run("reload", "--validate-only", "--server", server[0]))
    assert validated.startswith(("would serve", "serves"))


def test_reload_lists_the_faults(
    run: Run, catalog: CatalogFolder, server: tuple[str, ServeProcess]
) -> None:
    catalog.write("catalog.yaml", catalog.read("catalog.yaml") + "colour: blue\n")
    ended = run("reload", "--server", server[0])
    failed(ended, 1, "tierwise reload: FAILED_PRECONDITION")
    assert "catalog.yaml:5" in ended.stderr


# check -----------------------------------------------------------------------------------------


def test_check_says_what_a_good_catalog_holds(run: Run, catalog: CatalogFolder) -> None:
    printed = succeeded(run("check", str(catalog.path)))
    assert "no faults" in printed
    assert "30 utterances" in printed
    document = json.loads(succeeded(run("check", "--json", str(catalog.path))))
    assert (document["faults"], document["left_out"]) == ([], [])


def test_check_warns_and_fails_for_it_only_when_asked(run: Run, catalog: CatalogFolder) -> None:
    catalog.write(
        "cases/basics.yaml", "- {prompt: prove that there are infinitely many primes!, tier: mid}"
    )
    folder = str(catalog.path)
    printed = succeeded(run("check", folder))
    assert f"{folder}/cases/basics.yaml:1: warning near-leak: " in printed
    assert f"{folder}/cases/basics.yaml:1: warning same-words: " in printed
    strict = run("check", "--strict", "--format", "github", folder)
    assert strict.returncode == 1
    assert f"::warning file={folder}/cases/basics.yaml,line=1,title=near-leak::" in strict.stdout
    catalog.write("catalog.yaml", catalog.read("catalog.yaml") + "lint: {ignore: [near-leak]}\n")
    assert "near-leak" not in succeeded(run("check", folder))
    catalog.write("catalog.yaml", catalog.read("catalog.yaml").replace("near-leak", "near-leek"))
    ended = run("check", folder)
    assert ended.returncode == 1
    assert "catalog.yaml:5" in ended.stdout
    assert "near-leak" in ended.stdout


def test_robustness_counts_decisions_that_flip(run: Run, catalog: CatalogFolder) -> None:
    none = run("robustness", "--catalog", str(catalog.path))
    assert none.returncode == 1
    assert "no cases" in none.stderr
    catalog.write("cases/basics.yaml", f"- {{prompt: {LIKE['budget']}, tier: budget}}")
    printed = succeeded(run("robustness", "--catalog", str(catalog.path)))
    assert "flips by typos" in printed
    shown = json.loads(succeeded(run("robustness", "--json", "--catalog", str(catalog.path))))
    assert {one["name"]: one["count"] for one in shown}["flips by greeting"] == 1
    strict = run("robustness", "--strict", "--catalog", str(catalog.path))
    assert strict.returncode == int(not all(one["met"] for one in shown))


def test_check_without_an_encoder_says_what_it_left_out(
    run: Run, catalog: CatalogFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = json.loads(succeeded(run("check", "--fast", "--json", str(catalog.path))))
    assert "near-duplicate" in fast["left_out"][0]["rules"]
    monkeypatch.setenv("TIERWISE_ENCODER", str(tmp_path / "none"))
    printed = succeeded(run("check", str(catalog.path)))
    assert "left out: near-duplicate, " in printed
    assert "tierwise encoder build" in printed


def test_check_lists_every_fault_with_file_and_line(run: Run, catalog: CatalogFolder) -> None:
    catalog.write("catalog.yaml", catalog.read("catalog.yaml") + "colour: blue\n")
    catalog.replace("tiers/mid.yaml", "  sql:", "  SQL:")
    ended = run("check", str(catalog.path))
    assert ended.returncode == 1
    assert f"{catalog.path}/catalog.yaml:5" in ended.stdout
    assert f"{catalog.path}/tiers/mid.yaml:3" in ended.stdout
    ended = run("check", "--json", str(catalog.path))
    assert ended.returncode == 1
    faults = json.loads(ended.stdout)["faults"]
    assert {(fault["file"], fault["line"]) for fault in faults} == {
        ("catalog.yaml", 5),
        ("tiers/mid.yaml", 3),
    }


def test_check_of_a_folder_that_is_not_there_fails(run: Run, tmp_path: Path) -> None:
    ended = run("check", str(tmp_path / "nowhere"))
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert "nowhere" in ended.stdout + ended.stderr


# evaluate --------------------------------------------------------------------------------------

CASES = f"""\
- {{prompt: {LIKE["budget"]!r}, tier: budget}}
- {{prompt: {LIKE["mid"]!r}, tier: mid, task: sql}}
- {{prompt: {LIKE["premium"]!r}, tier: premium}}
- {{prompt: {LIKE_NOTHING!r}, tier: none}}
"""


def test_evaluate_runs_the_cases(run: Run, tmp_path: Path) -> None:
    catalog = write_catalog(tmp_path / "catalog", cases=CASES)
    printed = succeeded(run("evaluate", "--catalog", str(catalog.path)))
    assert "4 prompts" in printed
    answer = json.loads(succeeded(run("evaluate", "--json", "--catalog", str(catalog.path))))
    figures = answer["all"]
    assert (figures["count"], figures["accuracy"], figures["coverage"]) == (4, 1.0, 1.0)
    assert (figures["out_of_scope_recall"], figures["out_of_scope_auroc"]) == (1.0, 1.0)
    assert figures["confusion"]["premium"] == {"premium": 1}


def test_evaluate_fails_below_the_bar(run: Run, tmp_path: Path) -> None:
    wrong = CASES.replace("tier: budget", "tier: premium")
    catalog = write_catalog(tmp_path / "catalog", cases=wrong)
    where = ("--catalog", str(catalog.path))
    assert run("evaluate", *where, "--min-accuracy", "0.75").returncode == 0
    ended = run("evaluate", "--wrong", *where, "--min-accuracy", "0.76")
    assert ended.returncode == 1
    assert ended.stderr.strip() == "tierwise evaluate: accuracy 0.750 is below 0.76"
    assert "cases/basics.yaml:1: expected premium" in ended.stdout


def test_evaluate_takes_a_labelled_file(run: Run, catalog: CatalogFolder, tmp_path: Path) -> None:
    rows = [
        {"text": LIKE["budget"], "label": "budget"},
        {"text": LIKE["mid"], "label": "sql"},
        {"text": LIKE_NOTHING, "label": "oos"},
        # All of these are characters of one line of JSON.
        {"text": "prove that\u2028there are\u0085infinitely many\u2029primes", "label": "premium"},
    ]
    file = tmp_path / "labelled.jsonl"
    file.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n")
    where = ("--catalog", str(catalog.path))
    answer = json.loads(succeeded(run("evaluate", "--json", *where, str(file))))
    assert (answer["all"]["count"], answer["all"]["accuracy"]) == (4, 1.0)


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("{", ":2"),
        ('{"text": "x"}', ":2"),
        ('{"text": "x", "label": "nonsense"}', "nonsense"),
        ('{"text": "", "label": "mid"}', ":2"),
        ('{"text": 3, "label": "mid"}', ":2"),
        ("[]", ":2"),
        ('{"text": "\\ud800", "label": "mid"}', ":2"),
    ],
)
def test_a_line_that_is_no_row_is_named(
    run: Run, catalog: CatalogFolder, tmp_path: Path, line: str, part: str
) -> None:
    file = tmp_path / "labelled.jsonl"
    file.write_text(f'{{"text": "fine", "label": "mid"}}\n{line}\n')
    ended = run("evaluate", "--catalog", str(catalog.path), str(file))
    failed(ended, 1, "tierwise evaluate: ", part)


def test_evaluate_without_cases_says_so(run: Run, catalog: CatalogFolder) -> None:
    failed(run("evaluate", "--catalog", str(catalog.path)), 1, "tierwise evaluate: no cases")


def test_evaluate_of_a_file_that_is_not_there_is_one_line(
    run: Run, catalog: CatalogFolder, tmp_path: Path
) -> None:
    missing = str(tmp_path / "nowhere.jsonl")
    failed(run("evaluate", "--catalog", str(catalog.path), missing), 1, "nowhere.jsonl")


# init and encoder ------------------------------------------------------------------------------


def test_init_writes_a_catalog_that_checks_and_routes(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    printed = succeeded(run("init", str(folder)))
    assert str(folder / "catalog.yaml") in printed
    assert "no faults" in succeeded(run("check", str(folder)))
    ended = run("evaluate", "--catalog", str(folder), "--min-accuracy", "0.9")
    assert ended.returncode == 0, ended.stderr
    failed(run("init", str(folder)), 1, "tierwise init: ", "not empty")


def test_init_into_a_file_is_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    failed(run("init", str(tmp_path / "file")), 1, "tierwise init: ")


def test_encoder_show_tells_what_is_built(run: Run, encoder_dir: Path) -> None:
    printed = succeeded(run("encoder", "show", "--output", str(encoder_dir)))
    assert "384 dimensions" in printed
    assert "cosine to sentence-transformers" in printed


def test_encoder_build_if_missing_does_nothing_where_one_is_built(
    run: Run, encoder_dir: Path
) -> None:
    before = (encoder_dir / "manifest.json").stat().st_mtime_ns
    succeeded(run("encoder", "build", "--if-missing", "--output", str(encoder_dir)))
    assert (encoder_dir / "manifest.json").stat().st_mtime_ns == before


def test_encoder_show_of_nothing_is_one_line(run: Run, tmp_path: Path) -> None:
    ended = run("encoder", "show", "--output", str(tmp_path))
    failed(ended, 1, "tierwise encoder: ", str(tmp_path), "tierwise encoder build")
