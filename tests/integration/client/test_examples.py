"""The examples do what they say, run as their readers run them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import LIKE, REPOSITORY
from tests.integration.client.conftest import World

from tierwise import Usage
from tierwise.testing import Reply

EXAMPLES = REPOSITORY / "client" / "examples"
PYTHON = EXAMPLES / "python"
USAGE = Usage(input_tokens=1000, output_tokens=200)

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(world: World, tmp_path: Path) -> Run:
    """Runs a program whose environment leads it to the test's router and providers."""
    variables = {
        **{name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")},
        "TIERWISE_SERVER": world.router,
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "OPENAI_API_KEY": "sk-test",
        "OPENAI_BASE_URL": world.providers.base_url("openai"),
        "ANTHROPIC_API_KEY": "sk-ant-test",
        "ANTHROPIC_BASE_URL": world.providers.base_url("anthropic"),
        "GEMINI_API_KEY": "key-test",
        "GOOGLE_GEMINI_BASE_URL": world.providers.base_url("google"),
    }

    def start(*command: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(word) for word in command],
            env=variables,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return start


# Python ------------------------------------------------------------------------------------------


def test_ask_prints_the_answer_and_what_it_cost(world: World, run: Run) -> None:
    world.providers.script("openai", Reply.text("Short light scatters most.", usage=USAGE))
    done = run(sys.executable, PYTHON / "ask.py", LIKE["budget"])
    assert done.returncode == 0, done.stderr
    answer, decision, cost = done.stdout.splitlines()
    assert answer == "Short light scatters most."
    assert decision.startswith("budget tier, gpt-small: It reads like task summarization")
    # 1,000 tokens at 0.2 and 200 at 0.8 dollars a million.
    assert cost == "cost $0.000360 in 1 calls"
    assert done.stderr == ""


def test_ask_says_that_the_provider_declined(world: World, run: Run) -> None:
    world.providers.script("openai", Reply.refusal())
    done = run(sys.executable, PYTHON / "ask.py", LIKE["budget"])
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == "The provider declined to answer. No other model was asked.\n"
    assert len(world.providers.calls) == 1


def test_ask_async_answers_all_prompts(world: World, run: Run) -> None:
    done = run(sys.executable, PYTHON / "ask_async.py")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    prompts = [call.body for call in world.providers.calls]
    assert len(lines) == 6
    assert len(prompts) == 3
    for decided, answered in zip(lines[::2], lines[1::2], strict=True):
        tier, model, prompt = decided.split(maxsplit=2)
        assert (tier, model) in {
            ("budget", "gpt-small"),
            ("mid", "gemini-mid"),
            ("premium", "claude-big"),
        }
        assert answered == f"  You said: {prompt}"


def test_stream_prints_the_pieces_and_the_model(world: World, run: Run) -> None:
    world.providers.script("openai", Reply.text("Calls wait in a line."))
    done = run(sys.executable, PYTHON / "stream.py", LIKE["budget"])
    assert done.returncode == 0, done.stderr
    assert done.stdout == "Calls wait in a line.\n[gpt-small]\n"


def test_stream_says_that_it_broke_off(world: World, run: Run) -> None:
    world.providers.script("openai", Reply.text("Calls wait in a line.").cut(after_events=3))
    done = run(sys.executable, PYTHON / "stream.py", LIKE["budget"])
    assert done.returncode == 1, done.stderr
    received, said = done.stdout.splitlines()
    assert "Calls wait in a line.".startswith(received)
    assert said.startswith(f"[broke off after {len(received)} characters: gpt-small: ")


def test_cascade_goes_up_only_after_the_check(world: World, run: Run) -> None:
    world.providers.script("openai", Reply.text("It is 120.50 in euros.", usage=USAGE))
    world.providers.script("google", Reply.json({"total": 120.5, "currency": "EUR"}, usage=USAGE))
    done = run(sys.executable, PYTHON / "cascade.py", LIKE["budget"])
    assert done.returncode == 0, done.stderr
    first, second, answer = done.stdout.splitlines()
    assert (first, second) == ("gpt-small: json-schema", "gemini-mid: accepted")
    assert answer == '{"total": 120.5, "currency": "EUR"}'


@pytest.mark.parametrize(
    ("tier", "provider", "model"),
    [("budget", "openai", "gpt-small"), ("premium", "anthropic", "claude-big")],
)
def test_own_sdk_calls_the_chosen_model_and_reports(
    world: World, run: Run, tier: str, provider: str, model: str
) -> None:
    world.providers.script(provider, Reply.text("By their own SDK.", usage=USAGE))
    done = run(sys.executable, PYTHON / "own_sdk.py", LIKE[tier])
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{model}: By their own SDK.\n"
    # The outcome was delivered: what is not is said on standard error.
    assert done.stderr == ""
    (call,) = world.providers.calls
    assert "python" in call.headers["user-agent"].lower()
    assert not call.headers["user-agent"].startswith("python-httpx")


def test_every_python_example_is_run_by_a_test_and_described() -> None:
    files = {path.name for path in PYTHON.glob("*.py")}
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("*.py"))
    described = (PYTHON / "README.md").read_text(encoding="utf-8")
    assert files == {name for name in files if f'"{name}"' in tests and f"`{name}`" in described}


# Node --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def node_examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples in a copy of the folders that they need, with their packages installed."""
    if shutil.which("npm") is None:
        message = "the examples in Node need node and npm, which are not installed"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    root = tmp_path_factory.mktemp("checkout")
    folder = root / "client" / "examples" / "node"
    shutil.copytree(EXAMPLES / "node", folder, ignore=shutil.ignore_patterns("node_modules"))
    shutil.copytree(REPOSITORY / "proto", root / "proto")
    command = ["npm", "install", "--prefer-offline", "--no-audit", "--no-fund"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=110)
    return folder


def test_node_routes_from_the_contract_alone(world: World, run: Run, node_examples: Path) -> None:
    done = run("node", node_examples / "route.js", world.router, LIKE["premium"])
    assert done.returncode == 0, done.stderr
    assert '"tier_id": "premium"' in done.stdout
    assert '"kind": "DECISION_KIND_SEMANTIC"' in done.stdout


def test_node_calls_the_model_and_reports(world: World, run: Run, node_examples: Path) -> None:
    world.providers.script("openai", Reply.text("From Node.", usage=USAGE))
    done = run("node", node_examples / "ask.js", world.router, LIKE["budget"])
    assert done.returncode == 0, done.stderr
    assert done.stdout == "From Node.\n"
    assert done.stderr == "budget, gpt-small, report: OUTCOME_STATUS_ACCEPTED\n"


def test_node_says_why_it_failed(world: World, run: Run, node_examples: Path) -> None:
    world.providers.script("openai", Reply.refusal())
    done = run("node", node_examples / "ask.js", world.router, LIKE["budget"])
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "gpt-small failed: ERROR_CLASS_CONTENT_POLICY\n"
    assert len(world.providers.calls) == 1
    done = run("node", node_examples / "route.js", world.router, " ")
    assert done.returncode == 1
    assert done.stderr.startswith("INVALID_ARGUMENT: ")
