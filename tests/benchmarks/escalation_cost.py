"""What failures add to the bill: measured at the provider, and as probabilities say.

There is one model in each of three tiers. Each call fails with probability p, by a fixed seed: its
provider refuses it, or a check rejects the answer. What the calls after the first cost has to be,
over the steps, the sum of the probability of reaching a step times its price. And when every answer
is bad, what goes up stays within the share that the budget allows.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness import Bar, BenchmarkError, Process, progress, report, run_program, serving

from tierwise import (
    AsyncClient,
    Budget,
    ChatError,
    ClientSettings,
    ErrorClass,
    ProviderSettings,
    Usage,
)
from tierwise.testing import ProviderServer, Reply
from tierwise.testing.calls import ReceivedCall
from tierwise.validators import Validator, custom

SEED = 20260101
CHATS = {0.05: 12_000, 0.2: 4_000, 0.5: 2_000}
"""By probability, so many that chance alone is off by at most 5 % (one standard deviation)."""

TOLERANCE = 0.1
BUDGET_CHATS = 1_000
BUDGET_SHARE = 0.1
CALLERS = 32
PROMPT = "please summarize this article in two short sentences"
USAGE = Usage(input_tokens=1000, output_tokens=500)
GOOD, BAD = "good", "bad"
DOLLARS_A_MILLION = {"small-1": 1, "middle-1": 2, "large-1": 4}
"""Price of a token by the model's upstream name, in the order of the plan."""

PRICES = {
    name: dollars * 1000 * (USAGE.input_tokens + USAGE.output_tokens)
    for name, dollars in DOLLARS_A_MILLION.items()
}
"""What a call costs, in billionths of a dollar."""

TIERS = {
    "budget": "summarize this email",
    "mid": "write a query that joins orders and customers",
    "premium": "prove that there are infinitely many primes",
}
MODELS = """\
models:
  - {id: small, provider: openai, name: small-1, tier: budget, price: {input: 1, output: 1},
     context_window: 10000, max_output_tokens: 1000}
  - {id: middle, provider: google, name: middle-1, tier: mid, price: {input: 2, output: 2},
     context_window: 20000, max_output_tokens: 1000}
  - {id: large, provider: anthropic, name: large-1, tier: premium, price: {input: 4, output: 4},
     context_window: 40000, max_output_tokens: 1000}
"""
PROVIDERS = ("openai", "google", "anthropic")


@dataclass(slots=True)
class Fate:
    """Decides how each call ends, and keeps the provider's books."""

    probability: float
    """Of a failure."""
    rejected_share: float = 0.5
    """Of failures: answers that the check rejects, which are paid for. The others are refusals of
    the provider for length, which are free, and which lead to a larger window."""
    chance: random.Random = field(default_factory=lambda: random.Random(SEED))  # noqa: S311 - a draw
    billed: Counter[str] = field(default_factory=Counter)
    """Calls that are paid for, by upstream name."""

    def __call__(self, call: ReceivedCall) -> Reply:
        """Answers a call."""
        failed = self.chance.random() < self.probability
        if failed and self.chance.random() >= self.rejected_share:
            return Reply.error(ErrorClass.CONTEXT_TOO_LONG)
        self.billed[call.model] += 1
        return Reply.text(BAD if failed else GOOD, usage=USAGE)

    def cost(self, *, beyond_first: bool) -> int:
        """Returns what was billed, in billionths of a dollar."""
        names = list(PRICES)[1:] if beyond_first else list(PRICES)
        return sum(self.billed[name] * PRICES[name] for name in names)

    def expected_overshoot(self) -> float:
        """Returns what a chat should cost beyond its first call, in billionths of a dollar."""
        paid = 1 - self.probability * (1 - self.rejected_share)
        later = list(PRICES.values())[1:]
        return sum(
            self.probability ** (1 + step) * paid * price for step, price in enumerate(later)
        )


def main() -> int:
    """Measures, and prints the figures."""
    bars: list[Bar] = []
    figures: dict[str, Mapping[str, float]] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(catalog=written_catalog(Path(folder))) as router,
    ):
        for probability, chats in CHATS.items():
            progress(f"escalation_cost: {chats} chats, each call fails with {probability}")
            fate = Fate(probability)
            counted = run_chats(router, Path(folder), fate, chats, Budget(escalation_share=None))
            if counted != fate.cost(beyond_first=False):
                raise BenchmarkError(f"the client counted {counted}: not what was billed")
            measured = fate.cost(beyond_first=True) / chats
            ratio = measured / fate.expected_overshoot()
            figures[f"p={probability}"] = {
                "chats": chats,
                "overshoot_nano_usd_a_chat": measured,
                "expected_nano_usd_a_chat": fate.expected_overshoot(),
                "measured_by_expected": ratio,
            }
            name = f"overshoot_off_by_at_{probability}"
            bars.append(Bar(name=name, value=abs(ratio - 1), limit=TOLERANCE))
        progress("escalation_cost: every answer is bad, and the share is limited")
        figures["budget"] = measure_budget(router, Path(folder))
        spent = figures["budget"]["spent_by_budget"]
        bars.append(Bar(name="escalation_spend_by_budget", value=spent, limit=1.0))
    report(bars, figures)
    return 0


def measure_budget(router: Process, folder: Path) -> dict[str, float]:
    """Returns what escalations cost when every answer is bad, and what they may cost."""
    budget = Budget(escalation_share=BUDGET_SHARE, free_escalations=0)
    fate = Fate(1.0, rejected_share=1.0)
    run_chats(router, folder, fate, BUDGET_CHATS, budget)
    spent = fate.cost(beyond_first=True)
    allowed = BUDGET_SHARE * BUDGET_CHATS * sum(list(PRICES.values())[1:])
    return {
        "chats": BUDGET_CHATS,
        "escalated_chats": fate.billed["middle-1"],
        "spent_nano_usd": spent,
        "spent_by_budget": spent / allowed,
    }


def run_chats(router: Process, folder: Path, fate: Fate, chats: int, budget: Budget) -> int:
    """Has chats answered by a provider of their own; returns their cost as the client counts it."""
    with ProviderServer() as server:
        for provider in PROVIDERS:
            server.always(provider, fate)
        settings = ClientSettings(
            budget=budget,
            spool_path=folder / "spool.db",
            report_outcomes=False,
            router_timeout_s=30.0,
        )
        providers = {
            name: ProviderSettings(key="key", base_url=server.base_url(name)) for name in PROVIDERS
        }
        client = AsyncClient(router.target, providers=providers, settings=settings)
        return asyncio.run(_all_chats(client, chats))


async def _all_chats(client: AsyncClient, chats: int) -> int:
    check = custom("good", lambda answer: answer.text == GOOD)
    left = iter(range(chats))

    async def caller() -> int:
        return sum([await _cost_of_chat(client, check) for _ in left])

    async with client:
        return sum(await asyncio.gather(*(caller() for _ in range(CALLERS))))


async def _cost_of_chat(client: AsyncClient, check: Validator) -> int:
    try:
        attempts = (await client.chat(PROMPT, validators=(check,))).attempts
    except ChatError as error:
        attempts = error.attempts
    if not attempts or attempts[0].model_id != "small":
        raise BenchmarkError("a chat did not begin with the cheapest model")
    return sum(attempt.cost_nano_usd or 0 for attempt in attempts)


def written_catalog(folder: Path) -> Path:
    """Writes the catalog, and returns its folder."""
    catalog = folder / "catalog"
    (catalog / "tiers").mkdir(parents=True)
    text = f"tiers: [{', '.join(TIERS)}]\ndefault_tier: budget\n"
    (catalog / "catalog.yaml").write_text(text, encoding="utf-8")
    (catalog / "models.yaml").write_text(MODELS, encoding="utf-8")
    for tier, utterance in TIERS.items():
        text = f"tier: {tier}\ntasks:\n  {tier}-task:\n    description: Of {tier}.\n"
        text += f"    utterances:\n      - {utterance}\n"
        (catalog / "tiers" / f"{tier}.yaml").write_text(text, encoding="utf-8")
    return catalog


if __name__ == "__main__":
    run_program(main)
