"""A local server that answers like the model providers, to test applications without paying one.

    from tierwise import ErrorClass
    from tierwise.testing import ProviderServer, Reply

    with ProviderServer() as server:
        server.script("openai", Reply.error(ErrorClass.OVERLOADED), Reply.text("Hello."))
        ...  # call `server.base_url("openai")` with any key
        assert [call.model for call in server.calls] == ["gpt-4o", "gpt-4o"]

It speaks HTTP over real sockets on 127.0.0.1, in the formats of OpenAI's chat completions,
Anthropic's messages, Mistral and Gemini, unary and streamed, and refuses what those providers
refuse: a missing key, an empty conversation, a tool result that answers no call.
"""

from tierwise.testing.calls import CallEnding, ReceivedCall
from tierwise.testing.replies import Reply
from tierwise.testing.server import ProviderServer

__all__ = ["CallEnding", "ProviderServer", "ReceivedCall", "Reply"]
