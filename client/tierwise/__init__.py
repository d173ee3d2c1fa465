"""Client library of Tierwise: has each prompt answered by the cheapest model that is good enough.

`Client` and `AsyncClient` ask the router, call the model that it chose, follow the plan when that
fails, and report what became of it. Importing this costs next to nothing: no numpy, no model, no
connection. The messages and stubs of the gRPC contract are in `tierwise.v1`, a provider server for
tests in `tierwise.testing`.
"""

from importlib.metadata import version

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
