"""Lets a cheap model try first, checks its answer, and goes up only when the check fails."""

from __future__ import annotations

import sys

from tierwise import Budget, ChatRequest, Client, ClientSettings, JsonSchema, user
from tierwise.validators import json_schema, no_refusal

INVOICE = {
    "type": "object",
    "properties": {"total": {"type": "number"}, "currency": {"type": "string"}},
    "required": ["total", "currency"],
}


def main(text: str) -> int:
    request = ChatRequest(
        messages=(user(f"Extract total and currency as JSON: {text}"),),
        answer_format=JsonSchema(schema=INVOICE, name="invoice"),
    )
    settings = ClientSettings(
        # One chat costs at most a cent, and at most one chat in ten may go up.
        budget=Budget(max_cost_nano_usd=10_000_000, escalation_share=0.1)
    )
    with Client(settings=settings) as client:
        response = client.chat(request, validators=(no_refusal(), json_schema(INVOICE)))
    for attempt in response.attempts:
        print(f"{attempt.model_id}: {attempt.validator or 'accepted'}")
    print(response.text)
    return 0


if __name__ == "__main__":
    sys.exit(main(" ".join(sys.argv[1:]) or "Invoice 17, due Friday: 120.50 euros"))
