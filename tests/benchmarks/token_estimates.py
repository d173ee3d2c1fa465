"""Compares token estimates with the usage that providers recorded.

Run it on a folder of recorded calls, `<provider>/json/*.json` with `request`, `status` and `body`:
`python tests/benchmarks/token_estimates.py path/to/wire`. Counted are calls whose input is text
alone: what tools, pictures and schemas add is not in the text that a router sees. Equal texts of
one family with equal usage count once.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import Bar, report, run_program

from tierwise_server.planning.tokens import (
    FAMILIES,
    RATES,
    SAFETY_TOKENS,
    TokenFamily,
    character_kinds,
    estimate_tokens,
    family_of,
    upper_bound,
)

# What else a request can hold that costs tokens without being text of a turn.
EXTRAS = (
    "tools",
    "functions",
    "response_format",
    "text",
    "prompt",
    "output_config",
    "output_format",
    "cachedContent",
    "previous_response_id",
    "toolConfig",
)

LEAST_COVERED = 0.95
"""Share of the calls whose usage may not exceed the estimate with its safety share."""

INJECTED_TOKENS = 500
"""Usage this far above the bound of the text shows that the provider put in a prompt of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """The text of one recorded call, and its tokens as the provider counted them."""

    family: TokenFamily
    text: str
    tokens: int


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("recordings", type=Path, help="folder of recorded calls")
    arguments = parser.parse_args(argv)
    calls: defaultdict[TokenFamily, dict[Call, None]] = defaultdict(dict)
    for call in recorded_calls(arguments.recordings):
        calls[call.family][call] = None
    if not calls:
        print(f"no recorded calls of text under {arguments.recordings}", file=sys.stderr)
        return 1
    figures = {family.name.lower(): measure(family, list(calls[family])) for family in FAMILIES}
    bars = [
        Bar(
            name=f"{name}, share of calls within the safety share",
            value=covered,
            limit=LEAST_COVERED,
            at_least=True,
        )
        for name, family in figures.items()
        if isinstance(covered := family["covered_share"], float)
    ]
    report(bars, {"safety_tokens": SAFETY_TOKENS, "families": figures})
    return 0


def measure(family: TokenFamily, calls: Sequence[Call]) -> dict[str, object]:
    """Returns the errors of one family's estimates."""
    estimates = {
        call: estimate_tokens(family, len(call.text), character_kinds(call.text)) for call in calls
    }
    injected = [
        call
        for call in calls
        if call.tokens > upper_bound(family, estimates[call]) + INJECTED_TOKENS
    ]
    kept = [call for call in calls if call not in injected]
    errors = [abs(estimates[call] - call.tokens) / call.tokens for call in kept]
    long = [
        abs(estimates[call] - call.tokens) / call.tokens for call in kept if len(call.text) >= 300
    ]
    covered = [call for call in kept if call.tokens <= upper_bound(family, estimates[call])]
    needed = [
        max(0.0, (call.tokens - SAFETY_TOKENS - estimates[call]) / estimates[call]) for call in kept
    ]
    return {
        "calls": len(kept),
        "calls_with_injected_prompt": len(injected),
        "median_error": quantile(errors, 0.5),
        "p95_error": quantile(errors, 0.95),
        "calls_of_300_characters": len(long),
        "median_error_from_300_characters": quantile(long, 0.5),
        "worst_error_from_300_characters": quantile(long, 1.0),
        "safety_share": RATES[family].safety_share,
        "safety_share_needed_p95": quantile(needed, 0.95),
        "safety_share_needed_worst": quantile(needed, 1.0),
        "covered_share": len(covered) / len(kept) if kept else None,
    }


def quantile(values: Sequence[float], share: float) -> float | None:
    """Returns the smallest value that is not below this share of the values."""
    if not values:
        return None
    ordered = sorted(values)
    return round(ordered[max(0, -(-len(ordered) * share // 1) - 1).__int__()], 3)


def recorded_calls(folder: Path) -> Iterator[Call]:
    """Yields the recorded calls whose input is text alone."""
    for path in sorted(folder.glob("*/json/*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        request, body = record["request"], _parsed(record["body"])
        if record["status"] != 200 or not isinstance(request, dict) or not isinstance(body, dict):
            continue
        tokens = _input_tokens(body)
        texts = list(_texts(request))
        if tokens and texts and None not in texts:
            name = record["model"] or record["path"]
            yield Call(
                family=_family(record["provider"], name),
                text="".join(text for text in texts if text is not None),
                tokens=tokens,
            )


def _family(provider: str, name: str) -> TokenFamily:
    kebab = provider.replace("_", "-")
    return family_of(kebab, name, None)


def _parsed(body: object) -> object:
    try:
        return json.loads(body) if isinstance(body, str) else body
    except json.JSONDecodeError:
        return None


def _input_tokens(body: dict[str, Any]) -> int:
    usage = body.get("usage") or body.get("usageMetadata") or body
    for key in ("prompt_tokens", "promptTokenCount", "prompt_eval_count"):
        if usage.get(key):
            return int(usage[key])
    cached = ("cache_creation_input_tokens", "cache_read_input_tokens")
    return int(usage.get("input_tokens") or 0) + sum(int(usage.get(key) or 0) for key in cached)


def _texts(request: dict[str, Any]) -> Iterator[str | None]:
    """Yields the texts of a request, and None for anything in it that is no text."""
    if any(request.get(key) for key in EXTRAS) or "chema" in str(request.get("generationConfig")):
        yield None
    for key in ("messages", "input", "contents", "system", "instructions", "systemInstruction"):
        yield from _parts(request.get(key))


def _parts(value: object) -> Iterator[str | None]:
    if value is None or isinstance(value, str):
        yield value or ""
    elif isinstance(value, list):
        for entry in value:
            yield from _parts(entry)
    elif isinstance(value, dict):
        if value.get("tool_calls") or value.get("type", "text") not in {
            "message",
            "text",
            "input_text",
            "output_text",
        }:
            yield None
        elif "content" in value or "parts" in value:
            yield from _parts(value.get("content", value.get("parts")))
        else:
            text = value.get("text")
            yield text if isinstance(text, str) else None
    else:
        yield None


if __name__ == "__main__":
    run_program(main)
