"""How a chat is carried out: the decision, the plan's steps, retries, limits and the report.

The logic is written once, as generators that yield what they want done (`effects`) and are sent
what came of it. `tierwise.client` and `tierwise.async_client` do the sending and waiting.
"""
