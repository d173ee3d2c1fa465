"""The fuzzers' targets, on their seeds and on damage to them that is the same everywhere."""

from __future__ import annotations

import random

import pytest
from tests.fuzz import targets

ROUNDS = 150


def damaged(seed: bytes, chance: random.Random) -> bytes:
    """Returns a seed with a few bytes changed, cut out, doubled or swapped in from anywhere."""
    data = bytearray(seed)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(data) + 1)
        end = min(len(data), place + chance.randint(0, 12))
        data[place:end] = chance.choice(
            [b"", data[place:end] * 2, chance.randbytes(chance.randint(1, 4)), b"\n  - &a *a {:"]
        )
    return bytes(data)


@pytest.mark.parametrize("name", targets.TARGETS)
def test_a_target_takes_its_seeds_and_damage_to_them(name: str) -> None:
    chance = random.Random(name)  # noqa: S311 - repeatable, not secret
    seeds = targets.seeds(name)
    assert seeds
    for seed in seeds:
        targets.TARGETS[name](seed)
        for _ in range(ROUNDS):
            targets.TARGETS[name](damaged(seed, chance))


@pytest.mark.parametrize("name", targets.TARGETS)
def test_a_target_takes_nothing_and_noise(name: str) -> None:
    chance = random.Random(name)  # noqa: S311 - repeatable, not secret
    for length in (0, 1, 2, 3, 50, 500):
        targets.TARGETS[name](chance.randbytes(length))
