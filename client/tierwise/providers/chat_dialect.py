"""How the servers that speak OpenAI's chat completions differ from each other."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tierwise.error_class import ErrorClass


def plain_url(base_url: str, upstream_name: str) -> str:  # noqa: ARG001 - one of several forms
    """Returns the address of chat completions where the model is named in the body alone."""
    return f"{base_url}/chat/completions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What is particular to one provider. The defaults are what most servers take."""

    name: str
    """As its users call the provider; for messages."""
    url: Callable[[str, str], str] = plain_url
    """Makes the address out of the endpoint's and the model's upstream name."""
    key_header: str = "authorization"
    """Header that takes the key: `authorization`, as a bearer token, or one that takes it bare."""
    output_limit_field: str = "max_tokens"
    seed_field: str = "seed"
    takes_stream_options: bool = True
    """Whether a stream must be asked for its usage. The others tell it anyway, and refuse the
    field."""
    takes_logprobs: bool = True
    takes_json_schema: bool = True
    takes_image_urls: bool = True
    required_tool_choice: str = "required"
    tool_name: re.Pattern[str] | None = None
    """What a tool may be called. None takes any name."""
    call_id: re.Pattern[str] | None = None
    """What the id of a tool call must look like. None takes any; others are replaced in a way that
    keeps calls and results together."""
    max_stop: int | None = None
    """Most sequences to stop at. None means no limit."""
    strict_order: bool = False
    """Whether a user's message may not follow a tool's, nor an assistant's be empty or the last."""
    returned_fields: tuple[str, ...] = ()
    """Fields of an answer with tool calls that the provider wants back in the next turn."""
    ends_with_done: bool = True
    """Whether each whole stream ends with `[DONE]`."""
    states_cost: bool = False
    """Whether `usage.cost` is what the call cost, in US dollars."""
    statuses: Mapping[int, ErrorClass] = field(default_factory=dict)
    """Status codes that mean something else than with others."""
