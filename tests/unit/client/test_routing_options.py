"""From words of the command line to the message that is sent."""

from __future__ import annotations

import argparse
import io

import pytest
from google.protobuf import json_format

from tierwise.commands.router import add_server_options
from tierwise.commands.routing_options import add_routing_options, print_json, routing_input
from tierwise.errors import ConfigurationError
from tierwise.v1.decision_pb2 import Decision
from tierwise.v1.routing_input_pb2 import Priority, RequiredQuality, RoutingInput


def read(*words: str) -> RoutingInput:
    parser = argparse.ArgumentParser()
    add_routing_options(parser)
    add_server_options(parser, required=False)
    return routing_input(parser.parse_args(words))


def test_a_prompt_alone_is_all_there_is() -> None:
    assert read("fix this") == RoutingInput(prompt="fix this")


def test_a_dash_reads_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("naïve\n".encode()), "utf-8"))
    assert read("-").prompt == "naïve\n"


def test_every_option_has_its_field() -> None:
    message = read(
        "x", "--model", "m", "--lowest-tier", "a", "--highest-tier", "b", "--previous-tier", "c",
        "--quality", "high", "--priority", "latency", "--dial", "0.25", "--task-tag", "t",
        "--rules-only", "--catalog", "other", "--server", "host:1",
    )  # fmt: skip
    assert message.constraints.pinned_model_id == "m"
    assert (message.constraints.lowest_tier_id, message.constraints.highest_tier_id) == ("a", "b")
    assert message.constraints.required_quality == RequiredQuality.REQUIRED_QUALITY_HIGH
    assert message.priority == Priority.PRIORITY_LATENCY
    assert (message.previous_tier_id, message.task_tag) == ("c", "t")
    assert message.cost_quality_dial == 0.25
    assert message.rules_only
    assert message.catalog == "other"


def test_a_pinned_tier_has_its_field() -> None:
    assert read("x", "--tier", "mid").constraints.pinned_tier_id == "mid"


def test_without_a_server_the_catalog_is_a_folder_and_not_sent() -> None:
    assert read("x", "--catalog", "some/folder").catalog == ""


def test_a_whole_input_may_be_given_as_json_and_be_added_to() -> None:
    message = read("--input", '{"prompt": "x", "caller": "app"}', "--tier", "mid")
    assert (message.prompt, message.caller) == ("x", "app")
    assert message.constraints.pinned_tier_id == "mid"


@pytest.mark.parametrize("text", ["{", "3", '{"colour": 1}', '{"prompt": 3}', "[" * 10_000])
def test_json_that_is_no_input_is_told(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--input"):
        read("--input", text)


def test_a_prompt_and_an_input_at_once_are_told() -> None:
    with pytest.raises(ConfigurationError):
        read("the prompt", "--input", '{"prompt": "another"}')


def test_no_prompt_is_told() -> None:
    with pytest.raises(ConfigurationError, match="prompt"):
        read()


def test_an_object_is_printed_on_one_line_with_the_names_of_the_contract(
    capsys: pytest.CaptureFixture[str],
) -> None:
    decision = Decision(decision_id="1", tier_id="mid", reason="naïve", score=0.5)
    print_json(decision)
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert '"decision_id"' in printed
    assert "naïve" in printed
    assert json_format.Parse(printed, Decision()) == decision
