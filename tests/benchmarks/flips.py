"""Measures how often a harmless change of a prompt moves it to another tier.

The prompts are the shipped cases'. A typo for every ten words, begun ones included, may move 5 % of
them, a greeting in front 3 %, and upper case none.

    python tests/benchmarks/flips.py [--catalog FOLDER]
"""

from __future__ import annotations

import argparse
import random
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from harness import SHIPPED_CATALOG, Bar, progress, report, run_program

from tierwise_server.commands.local import open_parts, open_router
from tierwise_server.deciding.deciding_text import of_prompt
from tierwise_server.questions import case_question
from tierwise_server.routing import Query

WORDS_PER_TYPO = 10
TYPO_ROUNDS = 3
"""Times that typos are thrown over all prompts, elsewhere each time."""

LEAST_WORD = 4
"""Letters of the shortest word that gets a typo."""

SEED = 20261122
GREETINGS = ("Hi, ", "Hello! ", "Hey there, ", "Good morning, ", "Dear assistant, ")
NEIGHBOURS = {
    **dict(zip("qwertyuiop", "wertyuiopo", strict=True)),
    **dict(zip("asdfghjkl", "sdfghjklk", strict=True)),
    **dict(zip("zxcvbnm", "xcvbnmn", strict=True)),
}
"""A key beside each key of a keyboard."""

Change = Callable[[str], str]


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--catalog", type=Path, default=SHIPPED_CATALOG, help="catalog folder")
    folder = parser.parse_args(argv).catalog
    dice = random.Random(SEED)  # noqa: S311 - repeatable, not secret
    changes: dict[str, tuple[int, Change, float]] = {
        "typos": (TYPO_ROUNDS, lambda text: with_typos(text, dice), 0.05),
        "greeting": (1, lambda text: dice.choice(GREETINGS) + text, 0.03),
        "upper case": (1, str.upper, 0.0),
    }
    with tiers_of(folder) as (queries, decide):
        before = decide(queries)
        bars = []
        for name, (rounds, change, limit) in changes.items():
            progress(f"{name} ...")
            flips = 0
            for _ in range(rounds):
                after = decide([changed(query, change) for query in queries])
                flips += sum(one != other for one, other in zip(before, after, strict=True))
            share = flips / (rounds * len(queries))
            bars.append(Bar(name=f"flips by {name}", value=share, limit=limit))
    report(bars, {"prompts": len(queries), "typo_rounds": TYPO_ROUNDS, "seed": SEED})
    return 0


@contextmanager
def tiers_of(folder: Path) -> Iterator[tuple[list[Query], Callable[[list[Query]], list[str]]]]:
    """Yields the single prompts of a catalog's cases, and what decides their tiers."""
    with open_parts(str(folder)) as (parts, runner), open_router(parts, runner) as router:
        catalog = next(iter(parts.catalogs.values())).snapshot.catalog
        alone = [case for case in catalog.cases if case.prompt is not None]

        def decide(queries: list[Query]) -> list[str]:
            routed = runner.run(router.route_all(queries, path="prompts"))
            return [str(one.verdict.tier.id) for one in routed]

        yield [case_question(case).query for case in alone], decide


def changed(query: Query, change: Change) -> Query:
    """Returns the query with another text."""
    text = change(query.request.text)
    return replace(
        query,
        request=replace(query.request, text=text, character_count=len(text)),
        embedded_text=of_prompt(text).embedded_text,
    )


def with_typos(text: str, dice: random.Random) -> str:
    """Returns the text with a typo for every ten words, begun ones included."""
    words = list(re.finditer(rf"[A-Za-z]{{{LEAST_WORD},}}", text))
    count = -(-len(text.split()) // WORDS_PER_TYPO)
    for found in sorted(dice.sample(words, min(count, len(words))), key=lambda one: -one.start()):
        text = text[: found.start()] + misspelt(found.group(), dice) + text[found.end() :]
    return text


def misspelt(word: str, dice: random.Random) -> str:
    """Returns a word with two letters swapped, one dropped, doubled, or hit beside its key."""
    place = dice.randrange(1, len(word) - 1)
    one, other = word[place], word[place + 1]
    wrong = dice.choice((other + one, other, one + one + other, NEIGHBOURS[one.lower()] + other))
    return word[:place] + wrong + word[place + 2 :]


if __name__ == "__main__":
    run_program(main)
