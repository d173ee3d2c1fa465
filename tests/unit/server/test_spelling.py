"""Misspelt words are put right before a prompt is compared with utterances."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise_server.spelling import Spelling

SPELLING = Spelling.of(
    ["summarize this article", "summarize the article below", "translate the form", "from here"]
)


@pytest.mark.parametrize(
    "typed",
    [
        "summraize the article",  # swapped
        "sumarize the article",  # missing
        "summmarize the article",  # too many
        "summatize the article",  # wrong
        "summarize the artivle",
        "sumarize the artcle",
    ],
)
def test_one_slip_in_a_word_is_put_right(typed: str) -> None:
    assert SPELLING.corrected(typed) == "summarize the article"


@pytest.mark.parametrize(
    "typed",
    [
        "summarize the article",
        "SUMMARIZE THE ARTICLE",
        "sumarise the articel2",  # two slips, and a name of letters and digits
        "translte it",  # one utterance uses "translate", which may be a slip itself
        "teh form from here",  # short words, and words that are known
        "rticle",  # the first letter is missing
        "",
    ],
)
def test_everything_else_stays(typed: str) -> None:
    expected = typed.replace("articel2", "article2")
    assert SPELLING.corrected(typed) in {typed, expected}


def test_the_rest_of_the_text_stays_to_the_letter() -> None:
    assert SPELLING.corrected("  Plz  SUMARIZE,\n`this` artcle!") == (
        "  Plz  summarize,\n`this` article!"
    )


def test_of_several_words_the_most_used_is_meant() -> None:
    spelling = Spelling.of(["form form", "ford ford ford"])
    assert spelling.corrected("forx") == "ford"


@given(text=st.text())
def test_any_text_is_taken_and_put_right_once(text: str) -> None:
    corrected = SPELLING.corrected(text)
    assert SPELLING.corrected(corrected) == corrected
