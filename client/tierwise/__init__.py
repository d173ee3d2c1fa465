"""Client library of Tierwise: has each prompt answered by the cheapest model that is good enough.

`Client` and `AsyncClient` ask the router, call the model that it chose, follow the plan when that
fails, and report what became of it. Importing this costs next to nothing: no numpy, no model, no
connection; a name is imported when it is first used. The messages and stubs of the gRPC contract
are in `tierwise.v1`, a provider server for tests in `tierwise.testing`.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

__all__ = [
    "Answer",
    "AnswerFormat",
    "AsyncChatStream",
    "AsyncClient",
    "Attempt",
    "AttemptEvent",
    "Budget",
    "Capability",
    "ChatError",
    "ChatRequest",
    "ChatResponse",
    "ChatStream",
    "Client",
    "ClientSettings",
    "ClientStatus",
    "ConfigurationError",
    "Decision",
    "DecisionKind",
    "Delta",
    "ErrorClass",
    "FinishReason",
    "Hooks",
    "Image",
    "InvalidRequestError",
    "JsonSchema",
    "Message",
    "Model",
    "NamedTool",
    "OutcomeEvent",
    "Plan",
    "PlanStep",
    "Price",
    "Priority",
    "ProviderError",
    "ProviderSettings",
    "RateHeadroom",
    "ReasoningDelta",
    "RequiredQuality",
    "Role",
    "RouterError",
    "RouterOutageEvent",
    "RouterlessCause",
    "RouterlessDefaults",
    "RoutingOptions",
    "StepKind",
    "Text",
    "TextDelta",
    "TierwiseError",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
    "ToolChoice",
    "Usage",
    "Verdict",
    "__version__",
    "assistant",
    "system",
    "tool_result",
    "user",
]

__version__ = version("tierwise")
"""Version of the installed distribution."""

if TYPE_CHECKING:
    from tierwise.answers import (
        Answer,
        Delta,
        FinishReason,
        RateHeadroom,
        ReasoningDelta,
        TextDelta,
        ToolCallDelta,
        Usage,
    )
    from tierwise.async_client import AsyncChatStream, AsyncClient
    from tierwise.budget import Budget
    from tierwise.chat_response import Attempt, ChatResponse
    from tierwise.client import ChatStream, Client
    from tierwise.core import ClientStatus
    from tierwise.decisions import (
        Capability,
        Decision,
        DecisionKind,
        Model,
        Plan,
        PlanStep,
        Price,
        RouterlessCause,
        StepKind,
    )
    from tierwise.error_class import ErrorClass
    from tierwise.errors import (
        ChatError,
        ConfigurationError,
        InvalidRequestError,
        ProviderError,
        RouterError,
        TierwiseError,
    )
    from tierwise.hooks import AttemptEvent, Hooks, OutcomeEvent, RouterOutageEvent
    from tierwise.messages import (
        AnswerFormat,
        ChatRequest,
        Image,
        JsonSchema,
        Message,
        NamedTool,
        Role,
        Text,
        Tool,
        ToolCall,
        ToolChoice,
        assistant,
        system,
        tool_result,
        user,
    )
    from tierwise.providers.registry import ProviderSettings
    from tierwise.reporting.outcome import Verdict
    from tierwise.routing import Priority, RequiredQuality, RoutingOptions
    from tierwise.settings import ClientSettings, RouterlessDefaults
else:
    _MODULES = {
        "tierwise.answers": (
            "Answer",
            "Delta",
            "FinishReason",
            "RateHeadroom",
            "ReasoningDelta",
            "TextDelta",
            "ToolCallDelta",
            "Usage",
        ),
        "tierwise.async_client": (
            "AsyncChatStream",
            "AsyncClient",
        ),
        "tierwise.budget": ("Budget",),
        "tierwise.chat_response": (
            "Attempt",
            "ChatResponse",
        ),
        "tierwise.client": (
            "ChatStream",
            "Client",
        ),
        "tierwise.core": ("ClientStatus",),
        "tierwise.decisions": (
            "Capability",
            "Decision",
            "DecisionKind",
            "Model",
            "Plan",
            "PlanStep",
            "Price",
            "RouterlessCause",
            "StepKind",
        ),
        "tierwise.error_class": ("ErrorClass",),
        "tierwise.errors": (
            "ChatError",
            "ConfigurationError",
            "InvalidRequestError",
            "ProviderError",
            "RouterError",
            "TierwiseError",
        ),
        "tierwise.hooks": (
            "AttemptEvent",
            "Hooks",
            "OutcomeEvent",
            "RouterOutageEvent",
        ),
        "tierwise.messages": (
            "AnswerFormat",
            "ChatRequest",
            "Image",
            "JsonSchema",
            "Message",
            "NamedTool",
            "Role",
            "Text",
            "Tool",
            "ToolCall",
            "ToolChoice",
            "assistant",
            "system",
            "tool_result",
            "user",
        ),
        "tierwise.providers.registry": ("ProviderSettings",),
        "tierwise.reporting.outcome": ("Verdict",),
        "tierwise.routing": (
            "Priority",
            "RequiredQuality",
            "RoutingOptions",
        ),
        "tierwise.settings": (
            "ClientSettings",
            "RouterlessDefaults",
        ),
    }
    """Where each public name is defined."""
    _HOME_OF = {name: module for module, names in _MODULES.items() for name in names}

    def __getattr__(name: str) -> object:
        """Imports a public name when it is first used."""
        if name not in _HOME_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(_HOME_OF[name]), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        """Returns what the package has, names that are not imported yet included."""
        return sorted({*globals(), *__all__})
