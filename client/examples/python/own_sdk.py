"""Keeps the provider's own SDK, and has the router choose the model.

The call is the caller's, so following the plan is too; the report makes the saving count.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime

from tierwise import Attempt, Client, ConfigurationError, Decision, RoutingOptions, StepKind, Usage


def main(prompt: str) -> int:
    options = RoutingOptions(allowed_providers=("openai", "anthropic"))
    with Client() as client:
        decision = client.route(prompt, options)
        if decision.model is None:
            raise ConfigurationError("the router's catalog has no models")
        call = {"openai": call_openai, "anthropic": call_anthropic}[decision.model.provider_id]
        started, clock = datetime.now(UTC), time.monotonic()
        text, served_model, usage = call(decision.model.upstream_name, prompt)
        client.report(
            decision,
            attempts=(attempt(decision, started, time.monotonic() - clock, served_model, usage),),
        )
    print(f"{decision.model_id}: {text}")
    return 0


def call_openai(model: str, prompt: str) -> tuple[str, str, Usage]:
    import openai

    completion = openai.OpenAI().chat.completions.create(
        model=model, messages=[{"role": "user", "content": prompt}]
    )
    counted = completion.usage
    usage = Usage(
        input_tokens=counted.prompt_tokens if counted else 0,
        output_tokens=counted.completion_tokens if counted else 0,
    )
    return completion.choices[0].message.content or "", completion.model, usage


def call_anthropic(model: str, prompt: str) -> tuple[str, str, Usage]:
    import anthropic

    message = anthropic.Anthropic().messages.create(
        model=model, max_tokens=1024, messages=[{"role": "user", "content": prompt}]
    )
    text = "".join(block.text for block in message.content if block.type == "text")
    usage = Usage(
        input_tokens=message.usage.input_tokens, output_tokens=message.usage.output_tokens
    )
    return text, message.model, usage


def attempt(
    decision: Decision, started: datetime, duration_s: float, served_model: str, usage: Usage
) -> Attempt:
    model = decision.model
    return Attempt(
        model_id=decision.model_id,
        provider_id=model.provider_id if model else "",
        step_kind=StepKind.FIRST,
        start_time=started,
        duration_s=duration_s,
        served_model=served_model,
        usage=usage,
    )


if __name__ == "__main__":
    sys.exit(main(" ".join(sys.argv[1:]) or "Summarize in one sentence why the sky is blue."))
