"""Options of `route` and `explain` that make up the routing input."""

from __future__ import annotations

import argparse
import json
import os
import sys

from google.protobuf import json_format
from google.protobuf.message import Message

from tierwise.errors import ConfigurationError
from tierwise.v1.routing_input_pb2 import Priority, RequiredQuality, RoutingInput


def add_routing_options(parser: argparse.ArgumentParser) -> None:
    """Adds the prompt and the limits of the decision."""
    parser.add_argument("prompt", nargs="?", help="Prompt to route; `-` reads standard input.")
    parser.add_argument(
        "--input",
        metavar="JSON",
        help="The whole `RoutingInput` as JSON, in place of a prompt and limits.",
    )
    parser.add_argument(
        "--catalog",
        help="Catalog: a name with --server, a folder without (default: utterances).",
    )
    parser.add_argument("--tier", metavar="TIER", help="Pin the tier.")
    parser.add_argument("--model", metavar="MODEL", help="Pin the model.")
    parser.add_argument("--lowest-tier", metavar="TIER", help="Lowest tier to use.")
    parser.add_argument("--highest-tier", metavar="TIER", help="Highest tier to use.")
    parser.add_argument("--previous-tier", metavar="TIER", help="Tier of the turn before.")
    parser.add_argument(
        "--quality", choices=("low", "medium", "high"), help="Quality that the answer needs."
    )
    parser.add_argument(
        "--priority", choices=("cost", "latency", "quality"), help="What to rank models by."
    )
    parser.add_argument(
        "--dial", type=float, metavar="0..1", help="Lean: 0 is cheaper, 1 is better."
    )
    parser.add_argument("--task-tag", metavar="TAG", help="Kind of work, for rules to match on.")
    parser.add_argument("--rules-only", action="store_true", help="Decide without embedding.")
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")


def routing_input(arguments: argparse.Namespace) -> RoutingInput:
    """Returns the routing input that the options describe."""
    message = RoutingInput()
    if arguments.input is not None and arguments.prompt is not None:
        raise ConfigurationError("give a prompt or --input, not both")
    if arguments.input is not None:
        try:
            json_format.Parse(arguments.input, message)
        except json_format.ParseError as error:
            raise ConfigurationError(f"--input: {error}") from error
    elif arguments.prompt is not None:
        message.prompt = _prompt(arguments.prompt)
    else:
        raise ConfigurationError("give a prompt, `-` for standard input, or --input JSON")
    _apply(message, arguments)
    return message


def _prompt(argument: str) -> str:
    data = sys.stdin.buffer.read() if argument == "-" else os.fsencode(argument)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"the prompt is not UTF-8: {error.reason}") from error


def _apply(message: RoutingInput, arguments: argparse.Namespace) -> None:
    if arguments.server and arguments.catalog:
        message.catalog = arguments.catalog
    if arguments.tier and arguments.model:
        raise ConfigurationError("--tier and --model both pin; give one of them")
    limits = message.constraints
    for value, holder, field in (
        (arguments.tier, limits, "pinned_tier_id"),
        (arguments.model, limits, "pinned_model_id"),
        (arguments.lowest_tier, limits, "lowest_tier_id"),
        (arguments.highest_tier, limits, "highest_tier_id"),
        (arguments.previous_tier, message, "previous_tier_id"),
        (arguments.task_tag, message, "task_tag"),
        (arguments.dial, message, "cost_quality_dial"),
    ):
        if value is not None:
            setattr(holder, field, value)
    if arguments.quality:
        limits.required_quality = RequiredQuality.Value(
            f"REQUIRED_QUALITY_{arguments.quality.upper()}"
        )
    if arguments.priority:
        message.priority = Priority.Value(f"PRIORITY_{arguments.priority.upper()}")
    if arguments.rules_only:
        message.rules_only = True


def print_json(message: Message) -> None:
    """Prints the message as one object whose keys are the contract's field names."""
    fields = json_format.MessageToDict(message, preserving_proto_field_name=True)
    print(json.dumps(fields, ensure_ascii=False))
