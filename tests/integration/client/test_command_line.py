"""`tierwise chat`: the answer on standard output, how it came about on standard error."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import LIKE, run_tierwise, tierwise_command
from tests.integration.client.conftest import World

from tierwise import ErrorClass, ToolCall, Usage
from tierwise.testing import Reply

USAGE = Usage(input_tokens=1000, output_tokens=200)
KEY = "sk-test-0123456789"

Chat = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def variables(world: World, tmp_path: Path) -> dict[str, str]:
    """An environment with keys of two providers, which leads to the local ones."""
    return {
        **{name: "" for name in os.environ if name.endswith("_API_KEY")},
        "TIERWISE_SERVER": world.router,
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": world.providers.base_url("openai"),
        "GEMINI_API_KEY": KEY,
        "GOOGLE_GEMINI_BASE_URL": world.providers.base_url("google"),
    }


@pytest.fixture
def chat(variables: dict[str, str]) -> Chat:
    """Runs `tierwise chat`."""

    def run(*words: str, stdin: str = "", **changes: str) -> subprocess.CompletedProcess[str]:
        return run_tierwise("chat", *words, env={**variables, **changes}, input=stdin)

    return run


def test_the_answer_goes_to_standard_output_and_the_rest_to_standard_error(
    world: World, chat: Chat
) -> None:
    world.providers.script("openai", Reply.text("Short.\nAnd sweet.", usage=USAGE))
    done = chat(LIKE["budget"])
    assert (done.returncode, done.stdout) == (0, "Short.\nAnd sweet.\n")
    reason, attempt = done.stderr.strip().splitlines()
    assert reason.startswith("budget: It reads like task summarization of tier budget")
    assert attempt.startswith("gpt-small as gpt-small-1 answered in ")
    assert attempt.endswith(" for $0.000360, 1000 tokens in, 200 out")
    (call,) = world.providers.calls
    assert call.streamed


def test_a_model_that_was_not_asked_for_is_said_to_be_another(world: World, chat: Chat) -> None:
    world.providers.script("openai", Reply.text("An answer.", served_model="gpt-tiny-1"))
    done = chat(LIKE["budget"])
    assert "gpt-small as gpt-tiny-1, which is not what was asked for, answered" in done.stderr


def test_instructions_limits_and_pins_reach_the_model(world: World, chat: Chat) -> None:
    done = chat(
        *("--system", "Be terse.", "--max-output-tokens", "7", "--model", "gemini-mid", "Hello?")
    )
    assert (done.returncode, done.stdout) == (0, "You said: Hello?\n")
    (call,) = world.providers.calls
    assert call.provider == "google"
    assert call.body["systemInstruction"]["parts"] == [{"text": "Be terse."}]
    assert call.body["generationConfig"]["maxOutputTokens"] == 7


def test_a_prompt_is_read_from_standard_input(world: World, chat: Chat) -> None:
    done = chat("-", stdin="grüße, 你好\nand a second line\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "You said: grüße, 你好\nand a second line\n\n"


def test_json_is_one_object_of_everything(world: World, chat: Chat) -> None:
    world.providers.script("openai", Reply.error(ErrorClass.QUOTA_EXHAUSTED))
    call = ToolCall(id="c1", name="look", arguments_json='{"at": 1}')
    world.providers.script("google", Reply.tool_calls(call, text="Wait.", usage=USAGE))
    done = chat("--json", "--quality", "low", "--priority", "cost", LIKE["budget"])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    found = json.loads(done.stdout)
    assert set(found) == {
        "attempts", "cost_nano_usd", "decision_id", "finish_reason", "model_id", "outcome_id",
        "reason", "served_model", "task_id", "text", "tier_id", "tool_calls", "usage",
    }  # fmt: skip
    assert found["text"] == "Wait."
    (tool_call,) = found["tool_calls"]
    assert (tool_call["name"], json.loads(tool_call["arguments"])) == ("look", {"at": 1})
    assert (found["tier_id"], found["task_id"]) == ("budget", "summarization")
    assert (found["model_id"], found["served_model"]) == ("gemini-mid", "gemini-mid-1")
    assert (found["usage"]["input_tokens"], found["usage"]["output_tokens"]) == (1000, 200)
    assert found["cost_nano_usd"] == 1000 * 1000 + 200 * 4000
    failed, answered = found["attempts"]
    assert (failed["error_class"], failed["step_kind"]) == ("quota-exhausted", "first")
    assert (answered["error_class"], answered["step_kind"]) == (None, "escalation")
    assert not any(one.streamed for one in world.providers.calls)


def test_what_the_model_wants_called_is_shown(world: World, chat: Chat) -> None:
    call = ToolCall(id="c1", name="look", arguments_json='{"at": 1}')
    world.providers.script("openai", Reply.tool_calls(call))
    done = chat(LIKE["budget"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("\nwants look({")


# Failures ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_model_that_fails_is_named_with_the_class(
    world: World, chat: Chat, form: tuple[str, ...]
) -> None:
    world.providers.script("openai", Reply.refusal())
    done = chat(*form, LIKE["budget"])
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("tierwise chat: gpt-small: content-policy: ")
    assert KEY not in done.stderr
    assert len(world.providers.calls) == 1


def test_a_stream_that_breaks_off_leaves_what_came_and_fails(world: World, chat: Chat) -> None:
    world.providers.script("openai", Reply.text("one two three").cut(after_events=3))
    done = chat(LIKE["budget"])
    assert done.returncode == 1
    assert done.stdout.startswith("one")
    assert "tierwise chat: gpt-small: " in done.stderr


def test_without_any_key_the_variables_are_named(world: World, chat: Chat) -> None:
    done = chat(LIKE["budget"], OPENAI_API_KEY="", GEMINI_API_KEY="")
    assert (done.returncode, done.stdout) == (2, "")
    assert "OPENAI_API_KEY" in done.stderr
    assert "GEMINI_API_KEY" in done.stderr
    assert world.providers.calls == ()


def test_a_pinned_model_without_a_key_names_its_variable(world: World, chat: Chat) -> None:
    done = chat("--model", "gpt-small", "Hello?", OPENAI_API_KEY="")
    assert done.returncode == 1
    assert "OPENAI_API_KEY" in done.stderr
    assert world.providers.calls == ()


def test_a_router_that_refuses_says_what_is_wrong(world: World, chat: Chat) -> None:
    done = chat("--tier", "golden", "Hello?")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("tierwise chat: NOT_FOUND: ")
    assert "golden" in done.stderr


def test_help_says_where_the_router_is_looked_for(chat: Chat) -> None:
    done = chat("--help")
    assert "localhost:50051" in done.stdout
    assert "in this process" not in done.stdout


def test_without_a_router_it_says_so(world: World, chat: Chat) -> None:
    done = chat("--server", "127.0.0.1:1", "Hello?")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no router answers" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--server", "nowhere", "Hello?"), "say HOST:PORT"),
        (("--timeout", "0", "Hello?"), "chat_timeout_s: must be above 0"),
        (("--router-timeout", "-1", "Hello?"), "router_timeout_s: must be above 0"),
        (("--max-output-tokens", "0", "Hello?"), "max_output_tokens: "),
        (("--tier", "mid", "--model", "gemini-mid", "Hello?"), "tier: pin a tier or a model"),
    ],
)
def test_misuse_is_named_before_anything_is_sent(
    world: World, chat: Chat, words: tuple[str, ...], said: str
) -> None:
    done = chat(*words)
    assert done.returncode in {1, 2}
    assert done.stderr.startswith("tierwise chat: ")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert world.providers.calls == ()


def test_bytes_that_are_no_text_are_refused(world: World, variables: dict[str, str]) -> None:
    done = subprocess.run(
        tierwise_command("chat", "-"),
        env={**os.environ, **variables},
        input=b"caf\xe9",
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert b"the prompt is not UTF-8" in done.stderr
    assert world.providers.calls == ()
