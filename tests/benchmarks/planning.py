"""Times the choice of a model and its plan over a large registry.

`python tests/benchmarks/planning.py` prints, as JSON, the median and the tail in milliseconds for
plain and for heavily constrained requests, beside how long the registry takes to build. Each
request is of another size, since a choice for a size that came before is remembered; what that
takes is a figure of its own.
"""

from __future__ import annotations

import argparse
import datetime
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Final

from harness import Bar, report, run_program

from tierwise_server.catalog.ids import Location, ModelId, TaskId, TierId
from tierwise_server.catalog.model import Catalog, Task, TieBreak, Tier, Utterance
from tierwise_server.catalog.registry import Capability, Model, Price, PriceSource, RateLimits
from tierwise_server.catalog.rules import AttachmentKind, RuleBook
from tierwise_server.deciding.bounds import TierBounds
from tierwise_server.deciding.decision import DecisionKind, Verdict
from tierwise_server.deciding.request import Constraints, Priority, RoutingRequest
from tierwise_server.planning.choice import plan_models
from tierwise_server.planning.fleet import EMPTY_FLEET, FleetView, ModelHealth
from tierwise_server.planning.prices import resolve_prices
from tierwise_server.planning.registry import build_registry

TIERS: Final = ("budget", "mid", "premium")
PROVIDERS: Final = ("openai", "anthropic", "mistral", "google", "vllm")
CHARACTERS_APART: Final = 20
"""Makes an estimate of one token more in every family, at least."""

MOST_MS: Final = 0.3
"""Median time that a choice and its plan may take."""

PLACE: Final = Location(file="models.yaml", line=1)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--models", type=int, default=500, help="models in the registry")
    parser.add_argument("--rounds", type=int, default=2000, help="decisions to time for each kind")
    arguments = parser.parse_args(argv)
    random_numbers = random.Random(20261122)  # noqa: S311 - no secret
    catalog = make_catalog([make_model(one, random_numbers) for one in range(arguments.models)])
    started = time.perf_counter()
    registry = build_registry(catalog, resolve_prices(catalog.models, datetime.date(2026, 11, 22)))
    building_ms = (time.perf_counter() - started) * 1e3
    fleet = FleetView(
        revision="1",
        models={
            str(one.id): ModelHealth(
                available=random_numbers.random() > 0.1, latency_s=random_numbers.random()
            )
            for one in catalog.models
        },
    )
    text = "Summarize the minutes of the meeting below in five bullet points. " * 20
    plain = RoutingRequest(text=text, character_count=len(text))
    constrained = replace(
        plain,
        constraints=Constraints(
            denied_providers=frozenset({"mistral"}),
            required_capabilities=frozenset({Capability.TOOLS}),
            required_labels={"region": "eu"},
            cost_ceiling_nano_usd=100_000_000,
        ),
        attachments=frozenset({AttachmentKind.IMAGE}),
        expected_output_tokens=800,
    )
    bounds = TierBounds(lowest=0, highest=len(TIERS) - 1)

    def timed(
        request: RoutingRequest, view: FleetView = EMPTY_FLEET, *, growth: int = CHARACTERS_APART
    ) -> Callable[[int], object]:
        verdicts = [
            Verdict(kind=DecisionKind.SEMANTIC, tier=tier, reason="") for tier in catalog.tiers
        ]
        requests = [
            replace(request, character_count=request.character_count + growth * number)
            for number in range(arguments.rounds)
        ]
        return lambda number: plan_models(
            registry,
            verdicts[number % len(verdicts)],
            bounds,
            requests[number],
            language="en",
            fleet=view,
            seed=number.to_bytes(8, "big"),
        )

    long_text = "word " * 200_000
    figures = {
        "plain": measure(timed(plain), arguments.rounds),
        "plain_of_a_size_before": measure(timed(plain, growth=0), arguments.rounds),
        "constrained": measure(timed(constrained), arguments.rounds),
        "with_fleet_by_latency": measure(
            timed(replace(plain, priority=Priority.LATENCY), fleet), arguments.rounds
        ),
        "million_characters": measure(
            timed(replace(plain, text=long_text, character_count=len(long_text))), arguments.rounds
        ),
    }
    kinds = [name for name in figures if name != "plain_of_a_size_before"]
    report(
        [
            Bar(name=f"{name}, p50 ms", value=figures[name]["p50_ms"], limit=MOST_MS)
            for name in kinds
        ],
        {"models": arguments.models, "building_ms": round(building_ms, 2), **figures},
    )
    return 0


def measure(decide: Callable[[int], object], rounds: int) -> dict[str, float]:
    """Returns percentiles of the time of one call in milliseconds."""
    warm_up = rounds // 10
    for number in range(warm_up):
        decide(number)
    times: list[float] = []
    for number in range(warm_up, rounds):
        started = time.perf_counter()
        decide(number)
        times.append((time.perf_counter() - started) * 1e3)
    times.sort()
    return {
        "p50_ms": round(times[len(times) // 2], 4),
        "p95_ms": round(times[int(len(times) * 0.95)], 4),
        "p99_ms": round(times[int(len(times) * 0.99)], 4),
    }


def make_model(number: int, random_numbers: random.Random) -> Model:
    """Returns a model with a price that fits its tier."""
    rank = number % len(TIERS)
    dollars = Decimal(random_numbers.randint(50, 400)).scaleb(-3) * 6**rank
    window = random_numbers.choice([32_000, 128_000, 400_000, 1_000_000])
    capabilities = [one for one in Capability if random_numbers.random() < 0.7]
    return Model(
        id=ModelId(f"model-{number}"),
        provider=PROVIDERS[number % len(PROVIDERS)],
        name=f"upstream-{number}",
        tier=TierId(TIERS[rank]),
        price_source=PriceSource.FILE,
        price=Price(input=dollars, output=dollars * 5),
        context_window=window,
        max_output_tokens=window // 4,
        capabilities=frozenset(capabilities),
        quality=random_numbers.random() if random_numbers.random() < 0.8 else None,
        limits=RateLimits(tokens_per_minute=random_numbers.choice([None, 2_000_000])),
        labels={"region": random_numbers.choice(["eu", "us"])},
        base_url=None,
        weight=None,
        token_family=None,
        location=PLACE,
    )


def make_catalog(models: Sequence[Model]) -> Catalog:
    """Returns a catalog of three tiers with these models."""
    tiers: list[Tier] = []
    for rank, name in enumerate(TIERS):
        task = Task(
            id=TaskId(f"{name}-task"),
            index=rank,
            tier=TierId(name),
            description="",
            threshold=None,
            utterances=(Utterance(text=name, task_index=rank, location=PLACE),),
            location=PLACE,
        )
        tiers.append(
            Tier(
                id=TierId(name),
                rank=rank,
                description="",
                threshold=None,
                tasks=(task,),
                location=PLACE,
            )
        )
    return Catalog(
        tiers=tuple(tiers),
        default_tier=TierId("mid"),
        encoder=None,
        threshold=0.4,
        margin=0.02,
        tie=TieBreak.HIGHER,
        languages=("en",),
        rules=RuleBook(),
        models=tuple(models),
        baseline_model=None,
        cases=(),
        content_revision="",
    )


if __name__ == "__main__":
    run_program(main)
