"""Measures how often a change of a prompt that means nothing moves it to another tier.

The prompts are the shipped cases' and paraphrases; see `tierwise robustness`, whose code this runs
with more injected phrases for each prompt. "Held-out" phrases were written apart from what removes
such phrases.

    python tests/benchmarks/flips.py [--catalog FOLDER] [--phrases 12]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from harness import SHIPPED_CATALOG, Bar, progress, report, run_program

from tierwise_server.commands.local import open_parts, open_router
from tierwise_server.robustness.measure import SEED, steadiness
from tierwise_server.routing import Query


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--catalog", type=Path, default=SHIPPED_CATALOG, help="catalog folder")
    parser.add_argument("--phrases", type=int, default=12, help="of each group, for each prompt")
    arguments = parser.parse_args(argv)
    folder = arguments.catalog
    bars, counts = [], {}
    with open_parts(str(folder)) as (parts, runner), open_router(parts, runner) as router:
        catalog = next(iter(parts.catalogs.values())).snapshot.catalog

        def decide(queries: Sequence[Query]) -> list[str]:
            routed = runner.run(router.route_all(queries, path="prompts"))
            return [str(one.verdict.tier.id) for one in routed]

        for one in steadiness(catalog, decide, phrases_each=arguments.phrases):
            progress(f"{one.name}: {one.share:.4f}")
            bars.append(Bar(name=one.name, value=one.share, limit=one.limit))
            counts[one.name] = one.count
    report(bars, {"prompts": counts, "seed": SEED})
    return 0


if __name__ == "__main__":
    run_program(main)
