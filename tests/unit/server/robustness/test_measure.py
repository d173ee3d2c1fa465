"""Which changes are made to prompts, and how their effects are counted."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.conftest import write_catalog

from tierwise_server.catalog.loader import load_catalog
from tierwise_server.catalog.model import Catalog
from tierwise_server.robustness.changes import GREETINGS, greeted, with_typos
from tierwise_server.robustness.measure import TYPO_ROUNDS, steadiness
from tierwise_server.routing import Query

CASES = """\
- {prompt: fix the grammar in my letter, tier: budget}
- {prompt: prove this theorem about graphs, tier: premium}
- {prompt: what can I cook tonight, tier: mid}
"""
PAIRS = """\
- {prompt: fix my letter, reworded: correct what I wrote}
- {prompt: fix my letter, reworded: fix the letter}
- {prompt: fix my letter, reworded: korrigiere meinen Brief, language: de}
- {prompt: fix my letter, reworded: corrige ma lettre, language: fr}
"""


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    folder = write_catalog(tmp_path, cases=CASES)
    folder.write("paraphrases.yaml", PAIRS)
    return load_catalog(folder.path)


def test_there_is_one_typo_for_every_ten_words_begun() -> None:
    dice = random.Random(3)  # noqa: S311 - repeatable, not secret
    for count, expected in ((1, 1), (10, 1), (11, 2), (25, 3)):
        words = ["grammar"] * count
        after = with_typos(" ".join(words), dice).split()
        assert len(after) == count
        assert sum(one != "grammar" for one in after) <= expected
        assert after != words
    assert with_typos("a bc def", dice) == "a bc def"


def test_a_greeting_stands_in_front() -> None:
    text = greeted("fix this", random.Random(1))  # noqa: S311 - as above
    assert text.endswith("fix this")
    assert text.removesuffix("fix this") in GREETINGS


def test_a_steady_router_fails_nowhere(catalog: Catalog) -> None:
    found = list(steadiness(catalog, lambda queries: ["mid"] * len(queries)))
    assert all(one.failures == 0 and one.met for one in found)
    counts = {one.name: one.count for one in found}
    assert counts["flips by typos"] == 3 * TYPO_ROUNDS
    assert counts["flips by paraphrase"] == 2
    assert counts["below the default tier in another language"] == 2
    assert counts["upgrades by known prefix"] % 3 == 0


def test_flips_and_upgrades_are_counted(catalog: Catalog) -> None:
    """By a router that goes by case, and by the first letter."""

    def decide(queries: Sequence[Query]) -> list[str]:
        texts = [query.request.text for query in queries]
        return [
            "premium" if text[0].isupper() else "mid" if text.startswith("f") else "budget"
            for text in texts
        ]

    found = {one.name: one for one in steadiness(catalog, decide, phrases_each=1)}
    assert found["flips by upper case"].failures == 3
    assert not found["flips by upper case"].met
    assert found["flips by greeting"].failures == 3
    assert found["flips by paraphrase"].failures == 1
    assert found["flips by paraphrase"].share == 0.5
    assert found["below the default tier in another language"].failures == 2
    assert found["upgrades by known suffix"].failures == 0
    assert found["upgrades by known prefix"].count == 3


def test_a_faulty_pair_is_a_fault_with_its_line(tmp_path: Path) -> None:
    folder = write_catalog(tmp_path)
    folder.write("paraphrases.yaml", "- {prompt: one}\n- {prompt: one, reworded: two, to: mid}\n")
    with pytest.raises(Exception, match=r"paraphrases\.yaml:2") as caught:
        load_catalog(folder.path)
    assert "paraphrases.yaml:1" in str(caught.value)
