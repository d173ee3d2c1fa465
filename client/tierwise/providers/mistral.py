"""Mistral's API: chat completions with its own names, ids and order of messages.

Format: https://docs.mistral.ai/api/#tag/chat.
"""

from __future__ import annotations

import re

from tierwise.providers.chat_completions import ChatCompletions
from tierwise.providers.chat_dialect import Dialect
from tierwise.providers.known import KnownProvider
from tierwise.providers.openai import FUNCTION_NAME

MISTRAL = KnownProvider(
    provider_id="mistral",
    provider=ChatCompletions(
        Dialect(
            name="Mistral",
            seed_field="random_seed",
            takes_stream_options=False,
            takes_logprobs=False,
            required_tool_choice="any",
            tool_name=FUNCTION_NAME,
            call_id=re.compile(r"[a-zA-Z0-9]{9}"),
            # Refused with code 3230: "Unexpected role 'user' after role 'tool'".
            strict_order=True,
        )
    ),
    base_url="https://api.mistral.ai/v1",
    key_variable="MISTRAL_API_KEY",
)

KNOWN = (MISTRAL,)
