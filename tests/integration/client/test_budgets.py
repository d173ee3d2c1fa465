"""What failures may cost, as the provider counts it, with many callers at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.conftest import LIKE
from tests.integration.client.conftest import MODEL_OF, PROVIDERS, World

from tierwise import (
    Attempt,
    Budget,
    ChatError,
    ChatResponse,
    Client,
    ErrorClass,
    RoutingOptions,
    StepKind,
    Usage,
)
from tierwise.testing import Reply
from tierwise.validators import Validator, custom

USAGE = Usage(input_tokens=1000, output_tokens=500)
COST = {
    "openai": 1000 * 200 + 500 * 800,
    "mistral": 1000 * 300 + 500 * 900,
    "google": 1000 * 1000 + 500 * 4000,
}
"""What a call costs by the prices of the catalog, in billionths of a dollar."""

CALLERS = 16
CHATS = 120


def never() -> Validator:
    """Returns a check that no answer passes."""
    return custom("never", lambda answer: False)


def attempts_of(chat: Callable[[], object]) -> Sequence[Attempt]:
    """Returns the attempts of a chat that must fail."""
    with pytest.raises(ChatError) as caught:
        chat()
    return caught.value.attempts


def billed(world: World) -> Counter[str]:
    """Returns how many answers each provider has given."""
    return Counter(call.provider for call in world.providers.calls if call.status == 200)


def spend(world: World) -> int:
    """Returns what the providers bill."""
    return sum(COST[provider] * calls for provider, calls in billed(world).items())


@pytest.mark.parametrize(
    ("share", "free", "allowed"), [(0.1, 0, 12), (0.05, 10, 10), (0.0, 0, 0), (0.0, 4, 4)]
)
def test_rejected_answers_send_no_more_chats_up_than_the_budget_allows(
    world: World, share: float, free: int, allowed: int
) -> None:
    for provider in PROVIDERS:
        world.providers.always(provider, Reply.text("bad", usage=USAGE))
    budget = Budget(escalation_share=share, free_escalations=free)

    def chat(client: Client) -> Sequence[Attempt]:
        return attempts_of(lambda: client.chat(LIKE["budget"], validators=[never()]))

    with world.client(budget=budget) as client, ThreadPoolExecutor(CALLERS) as threads:
        results = list(threads.map(chat, [client] * CHATS))
    up = [one for attempts in results for one in attempts if one.step_kind is StepKind.ESCALATION]
    # At the end as many as the share of all chats: earlier ones had to do with a share of fewer.
    assert len(up) <= allowed
    assert len(up) == billed(world)["google"]
    assert sum(one.cost_nano_usd or 0 for one in up) <= allowed * COST["google"]
    assert billed(world)["openai"] == CHATS
    counted = sum(one.cost_nano_usd or 0 for attempts in results for one in attempts)
    assert counted == spend(world)


async def test_a_provider_that_always_fails_spends_no_more_than_the_budget_on_escalation(
    world: World,
) -> None:
    for provider in ("openai", "mistral"):
        world.providers.always(provider, Reply.error(ErrorClass.OVERLOADED))
    world.providers.always("google", Reply.text("from above", usage=USAGE))
    budget = Budget(escalation_share=0.1, free_escalations=3)
    async with world.async_client(budget=budget, first_wait_s=0.0) as client:
        chats = (client.chat(LIKE["budget"]) for _ in range(CHATS))
        results = await asyncio.gather(*chats, return_exceptions=True)
    failures = [one for one in results if isinstance(one, ChatError)]
    assert all("too many chats have escalated lately" in str(one) for one in failures)
    answers = [one.model_id for one in results if isinstance(one, ChatResponse)]
    assert answers == [MODEL_OF["google"]] * billed(world)["google"]
    assert len(answers) + len(failures) == CHATS
    assert 0 < spend(world) <= CHATS // 10 * COST["google"]


async def test_no_chat_costs_more_than_its_limit(world: World) -> None:
    for provider in PROVIDERS:
        world.providers.always(provider, Reply.text("bad", usage=USAGE))
    # Enough for the first model alone, by about what the router estimates for such an answer.
    limit = COST["openai"] + COST["google"] // 2
    budget = Budget(max_cost_nano_usd=limit, escalation_share=None)
    options = RoutingOptions(expected_output_tokens=USAGE.output_tokens)
    prompt = f"{LIKE['budget']}: " + "word " * USAGE.input_tokens
    async with world.async_client(budget=budget) as client:

        async def chat() -> tuple[Attempt, ...]:
            with pytest.raises(ChatError, match="beyond the budget of the chat") as caught:
                await client.chat(prompt, options, validators=[never()])
            return caught.value.attempts

        results = await asyncio.gather(*(chat() for _ in range(CHATS)))
    costs = [sum(one.cost_nano_usd or 0 for one in attempts) for attempts in results]
    assert max(costs) <= limit
    assert sum(costs) == spend(world) == CHATS * COST["openai"]


def test_retries_of_calls_that_may_be_billed_stop_at_the_limit(world: World) -> None:
    # Broken off in mid-answer: the provider may bill it, and nobody knows how much.
    world.providers.always("openai", Reply.text("one two three", usage=USAGE).cut(after_bytes=20))
    options = RoutingOptions(model=MODEL_OF["openai"], expected_output_tokens=500)
    with world.client() as client:
        free = attempts_of(lambda: client.chat(LIKE["budget"], options))
        estimate = client.route(LIKE["budget"], options).estimated_cost_nano_usd
    assert estimate
    assert [one.cost_nano_usd for one in free] == [None] * len(free)
    budget = Budget(max_cost_nano_usd=2 * estimate - 1)
    with world.client(budget=budget) as client:
        held = attempts_of(lambda: client.chat(LIKE["budget"], options))
    assert (len(held), len(free)) == (1, 3)
