"""What stays in memory of a prompt once its call is over."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from types import FunctionType, ModuleType

from tests.conftest import CALL_TIMEOUT_S, CatalogFolder, Serve

from tierwise.v1.routing_input_pb2 import RoutingInput
from tierwise.v1.routing_service_pb2 import ExplainDecisionRequest

PROMPT = "my landlord hunter2 wants a short summary of the lease"


def reachable(root: object) -> Iterator[object]:
    """Yields everything that an object keeps alive, code apart."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, type | ModuleType | FunctionType):
            continue
        seen.add(id(one))
        yield one
        waiting += gc.get_referents(one)


async def test_a_repeated_prompt_is_remembered_without_its_text(
    catalog: CatalogFolder, serve: Serve
) -> None:
    async with serve(catalog) as served:
        first = await served.route(PROMPT)
        second = await served.route(PROMPT)
        assert second.timings.vector_cached
        assert (second.tier_id, second.reason) == (first.tier_id, first.reason)

        cache = served.server._slot.router._prompts._cache
        assert len(cache) == 1
        kept = [one for one in reachable(cache) if isinstance(one, str) and "hunter2" in one]
        assert kept == []


async def test_a_remembered_prompt_is_explained_in_full(
    catalog: CatalogFolder, serve: Serve
) -> None:
    rule = "{name: lease, when: {keywords: [lease]}, then: {tier: mid}}"
    catalog.write("rules.yaml", f"default:\n  - {rule}\n")
    async with serve(catalog) as served:
        await served.route(PROMPT)
        await served.route(PROMPT)
        request = ExplainDecisionRequest(input=RoutingInput(prompt=PROMPT))
        explained = await served.routing.ExplainDecision(request, timeout=CALL_TIMEOUT_S)
        assert [rule.rule_name for rule in explained.explanation.rules] == ["lease"]
