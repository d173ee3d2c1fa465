"""OpenAI's own API."""

from __future__ import annotations

import re

from tierwise.providers.chat_completions import ChatCompletions
from tierwise.providers.chat_dialect import Dialect
from tierwise.providers.known import KnownProvider

FUNCTION_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
"""What a function may be called: https://platform.openai.com/docs/api-reference/chat/create."""

SHORT_CALL_ID = re.compile(r".{1,40}", re.DOTALL)
"""OpenAI refuses longer ids of tool calls, which others make."""

MAX_STOP = 4

OPENAI = KnownProvider(
    provider_id="openai",
    provider=ChatCompletions(
        Dialect(
            name="OpenAI",
            # Reasoning models refuse `max_tokens`, and all others take its successor too.
            output_limit_field="max_completion_tokens",
            tool_name=FUNCTION_NAME,
            call_id=SHORT_CALL_ID,
            max_stop=MAX_STOP,
        )
    ),
    base_url="https://api.openai.com/v1",
    key_variable="OPENAI_API_KEY",
    base_url_variable="OPENAI_BASE_URL",
)

KNOWN = (OPENAI,)
