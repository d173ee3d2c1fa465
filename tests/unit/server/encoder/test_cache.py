from __future__ import annotations

import gc

import numpy as np
import pytest
from numpy.typing import NDArray

from tierwise_server.encoder.cache import PromptCache


def vector(value: float) -> NDArray[np.float32]:
    return np.full(4, value, dtype=np.float32)


def test_vector_comes_back_for_the_same_text_only() -> None:
    cache = PromptCache(2)
    kept = vector(1)
    cache.put("a prompt", kept)

    assert cache.get("a prompt") is kept
    assert cache.get("a prompt ") is None


def test_hits_and_misses_are_counted() -> None:
    cache = PromptCache(2)
    cache.get("a")
    cache.put("a", vector(1))
    cache.get("a")
    cache.get("a")

    assert (cache.hits, cache.misses) == (2, 1)


def test_the_one_longest_unused_makes_room() -> None:
    cache = PromptCache(2)
    cache.put("a", vector(1))
    cache.put("b", vector(2))
    cache.get("a")
    cache.put("c", vector(3))

    assert [cache.get(text) is not None for text in "abc"] == [True, False, True]
    assert len(cache) == 2


def test_putting_again_replaces_and_counts_as_use() -> None:
    cache = PromptCache(2)
    cache.put("a", vector(1))
    cache.put("b", vector(2))
    newer = vector(9)
    cache.put("a", newer)
    cache.put("c", vector(3))

    assert cache.get("a") is newer
    assert cache.get("b") is None


def test_clear_forgets_vectors_and_keeps_counts() -> None:
    cache = PromptCache(2)
    cache.put("a", vector(1))
    cache.get("a")
    cache.clear()

    assert len(cache) == 0
    assert cache.get("a") is None
    assert (cache.hits, cache.misses) == (1, 1)


def test_capacity_zero_turns_it_off() -> None:
    cache = PromptCache(0)
    cache.put("a", vector(1))

    assert cache.get("a") is None


def test_negative_capacity_is_refused() -> None:
    with pytest.raises(ValueError, match="capacity"):
        PromptCache(-1)


def test_lone_surrogates_are_told_apart() -> None:
    cache = PromptCache(4)
    cache.put("\ud800", vector(1))

    assert cache.get("\ud800") is not None
    assert cache.get("\ud801") is None
    assert cache.get("?") is None


def test_no_prompt_text_is_kept() -> None:
    cache = PromptCache(4)
    prompt = "".join(["my password is ", "hunter2"])
    cache.put(prompt, vector(1))

    assert not any(referrer is cache._values for referrer in gc.get_referrers(prompt))
    assert [len(key) for key in cache._values] == [16]
