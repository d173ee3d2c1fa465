from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise_server.benching import scorers
from tierwise_server.benching.samples import quality
from tierwise_server.benching.scorers import Bounds


@pytest.mark.parametrize(
    ("scorer", "answer", "score"),
    [
        (scorers.exact(["Paris"]), ' "paris." ', 1.0),
        (scorers.exact(["Paris"]), "It is Paris.", 0.0),
        (scorers.exact(["Straße", "Weg"]), "STRASSE", 1.0),
        (scorers.contains(["red", "blue"]), "A RED fox", 0.5),
        (scorers.regex(r"^\d{3}$"), "123", 1.0),
        (scorers.regex(r"^\d{3}$"), "1234", 0.0),
        (scorers.numeric([1234.5], 0, 0), "About 7 steps, so it is 1,234.5 euros.", 1.0),
        (scorers.numeric([100], 0, 0.05), "Answer: **96**", 1.0),
        (scorers.numeric([100], 0, 0.05), "Answer: 94", 0.0),
        (scorers.numeric([0.3], 0, 0), f"{0.1 + 0.2}", 1.0),
        (scorers.numeric([-5], 0, 0), "3 - 8 = -5", 1.0),
        (scorers.numeric([5], 0, 0), "range 1-5", 1.0),
        (scorers.numeric([5], 0, 0), "none", 0.0),
        (scorers.length(Bounds(max_words=4)), "one two three four", 1.0),
        (scorers.length(Bounds(max_words=4)), "one two three four " * 2, 0.5),
        (scorers.length(Bounds(min_characters=10)), "12345", 0.5),
        (scorers.keywords(["data base"], ["index"]), "The data base is new.", 1.0),
        (scorers.keywords(["data base"], ["index"]), "The data base has an index.", 0.0),
        (scorers.keywords(["data"], []), "database", 0.0),
        (scorers.json_schema({"type": "object"}), '```json\n{"a": 1}\n```', 1.0),
        (scorers.json_schema({"type": "object"}), '{"a": 1', 0.0),
        (scorers.json_schema({"type": "object"}), "[]", 0.0),
    ],
)
def test_scores_are_as_documented(scorer: scorers.Scorer, answer: str, score: float) -> None:
    assert scorer(answer) == score


SOURCE = "Marta Quell sold 1,250 loaves in May. The oven uses 18 percent less gas."


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("Quell sold 1250 loaves in May.", 1.0),
        ("Quell sold 1350 loaves in May.", 0.5),
        ("In May, Peter sold 1250 loaves.", 2 / 3),
        ("She sold 1250.", 1.0),
        ("Some loaves were sold.", 0.0),
    ],
)
def test_facts_have_to_be_stated_and_borne_out(answer: str, score: float) -> None:
    scorer = scorers.facts([["1250", "1,250", "1350"]], SOURCE, grounded=True)
    assert scorer(answer) == pytest.approx(score)


def test_an_invented_figure_costs_its_share() -> None:
    scorer = scorers.facts([], SOURCE, grounded=True)
    assert scorer("It uses 18 percent less gas and 30 percent less time.") == 0.5


WORDS = st.lists(st.sampled_from("abcd"), max_size=12)


@given(WORDS, WORDS)
def test_rouge_l_finds_the_longest_common_subsequence(left: list[str], right: list[str]) -> None:
    table = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for row, one in enumerate(left):
        for column, other in enumerate(right):
            table[row + 1][column + 1] = (
                table[row][column] + 1
                if one == other
                else max(table[row][column + 1], table[row + 1][column])
            )
    common = table[-1][-1]
    expected = 2 * common / (len(left) + len(right)) if common else 0.0
    assert scorers.rouge_l([" ".join(right)], 1.0)(" ".join(left)) == pytest.approx(expected)


def test_rouge_l_takes_the_nearest_reference_and_its_scale() -> None:
    scorer = scorers.rouge_l(["the cat sat on the mat", "a dog barked"], 0.5)
    assert scorer("A dog.") == 1.0
    assert scorer("the mat") == pytest.approx(2 * 2 / 8 / 0.5)
    assert scorer("") == 0.0


def test_a_broken_constraint_multiplies_the_grades() -> None:
    assert quality([1.0, 0.5], [0.5]) == 0.375
    assert quality([], [0.5, 0.5]) == 0.25
