"""`tierwise chat`: has a prompt answered, and says by which model and at what cost."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from datetime import datetime
from enum import Enum

from tierwise.answers import ReasoningDelta, TextDelta
from tierwise.chat_response import Attempt, ChatResponse
from tierwise.client import Client
from tierwise.commands.render import dollars
from tierwise.commands.router import add_server_options
from tierwise.errors import ConfigurationError
from tierwise.messages import ChatRequest, Message, system, user
from tierwise.router_channel import DEFAULT_ROUTER
from tierwise.routing import Priority, RequiredQuality, RoutingOptions
from tierwise.settings import ClientSettings


def main(argv: Sequence[str]) -> int:
    """Runs the command and returns its exit status."""
    arguments = _parser().parse_args(argv)
    settings = ClientSettings(
        chat_timeout_s=arguments.timeout, router_timeout_s=arguments.router_timeout
    )
    request = ChatRequest(
        messages=tuple(_messages(arguments)), max_output_tokens=arguments.max_output_tokens
    )
    with Client(arguments.server, settings=settings) as client:
        if arguments.json:
            print(json.dumps(_as_json(client.chat(request, _options(arguments)))))
        else:
            _show(client, request, arguments)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tierwise chat",
        description="Has a prompt answered by the model that the router chooses. Keys come from the"
        " providers' usual environment variables, such as OPENAI_API_KEY.",
    )
    parser.add_argument("prompt", help="Prompt to answer; `-` reads standard input.")
    parser.add_argument("--system", metavar="TEXT", help="Instructions to the model.")
    parser.add_argument("--catalog", help="Catalog to decide by, by its name on the server.")
    parser.add_argument("--tier", metavar="TIER", help="Pin the tier.")
    parser.add_argument("--model", metavar="MODEL", help="Pin the model.")
    parser.add_argument(
        "--quality", choices=("low", "medium", "high"), help="Quality that the answer needs."
    )
    parser.add_argument(
        "--priority", choices=("cost", "latency", "quality"), help="What to rank models by."
    )
    parser.add_argument(
        "--max-output-tokens",
        type=int,
        metavar="N",
        help="Most tokens of the answer; default: what the model allows.",
    )
    parser.add_argument(
        "--router-timeout",
        type=float,
        default=2.0,
        metavar="SECONDS",
        help="How long to wait for the router; default 2.",
    )
    parser.add_argument("--json", action="store_true", help="Print one JSON object, unstreamed.")
    add_server_options(
        parser, required=False, otherwise=f"Without a server, {DEFAULT_ROUTER} is asked."
    )
    return parser


def _messages(arguments: argparse.Namespace) -> list[Message]:
    prompt = arguments.prompt
    data = sys.stdin.buffer.read() if prompt == "-" else os.fsencode(prompt)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"the prompt is not UTF-8: {error.reason}") from error
    turns = [system(arguments.system)] if arguments.system else []
    return [*turns, user(text)]


def _options(arguments: argparse.Namespace) -> RoutingOptions:
    quality, priority = arguments.quality, arguments.priority
    return RoutingOptions(
        catalog=arguments.catalog or "",
        tier=arguments.tier or "",
        model=arguments.model or "",
        required_quality=RequiredQuality[quality.upper()] if quality else None,
        priority=Priority[priority.upper()] if priority else None,
    )


def _show(client: Client, request: ChatRequest, arguments: argparse.Namespace) -> None:
    """Prints the answer as it comes, and on standard error how it came about."""
    with client.chat_stream(request, _options(arguments)) as stream:
        for delta in stream:
            if isinstance(delta, TextDelta):
                print(delta.text, end="", flush=True)
            elif isinstance(delta, ReasoningDelta):
                print(delta.text, end="", flush=True, file=sys.stderr)
        response = stream.response
    print()
    for call in response.tool_calls:
        print(f"wants {call.name}({call.arguments_json})")
    print(f"\n{response.decision.tier_id}: {response.decision.reason}", file=sys.stderr)
    for attempt in response.attempts:
        print(_attempt_line(attempt), file=sys.stderr)


def _attempt_line(attempt: Attempt) -> str:
    cost = "at an unknown cost"
    if attempt.cost_nano_usd is not None:
        cost = f"for {dollars(attempt.cost_nano_usd)}"
    tokens = ""
    if attempt.usage is not None:
        tokens = f", {attempt.usage.input_tokens} tokens in, {attempt.usage.output_tokens} out"
    verdict = "answered"
    if attempt.error_class is not None:
        verdict = f"failed ({attempt.error_class.word}: {attempt.error_message})"
    served = f" as {attempt.served_model}" if attempt.served_model else ""
    if attempt.is_another_model:
        served += ", which is not what was asked for,"
    return f"{attempt.model_id}{served} {verdict} in {attempt.duration_s:.2f} s {cost}{tokens}"


def _as_json(response: ChatResponse) -> dict[str, object]:
    usage = response.usage
    return {
        "text": response.text,
        "tool_calls": [
            {"id": call.id, "name": call.name, "arguments": call.arguments_json}
            for call in response.tool_calls
        ],
        "finish_reason": response.finish_reason.value if response.finish_reason else None,
        "usage": dataclasses.asdict(usage) if usage else None,
        "model_id": response.model_id,
        "served_model": response.served_model,
        "cost_nano_usd": response.cost_nano_usd,
        "decision_id": response.decision.decision_id,
        "tier_id": response.decision.tier_id,
        "task_id": response.decision.task_id,
        "reason": response.decision.reason,
        "attempts": [_plain(dataclasses.asdict(one)) for one in response.attempts],
        "outcome_id": response.outcome_id,
    }


def _plain(value: object) -> object:
    """Returns a value in types that JSON has."""
    match value:
        case dict():
            return {name: _plain(one) for name, one in value.items()}
        case Enum():
            return value.name.lower().replace("_", "-")
        case datetime():
            return value.isoformat()
        case _:
            return value
