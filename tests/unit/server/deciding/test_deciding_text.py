"""Which text of a conversation decides."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise_server.deciding.deciding_text import (
    HEAD_WORDS,
    LONG_CHARACTERS,
    MIN_STANDALONE_WORDS,
    TAIL_WORDS,
    DecidingText,
    Turn,
    of_conversation,
    of_prompt,
)


def said(*turns: str) -> DecidingText:
    """Returns what decides; turns of the model start with `>`."""
    return of_conversation(
        [Turn(by_user=not text.startswith(">"), text=text.removeprefix(">")) for text in turns]
    )


def test_the_last_turn_of_the_user_decides() -> None:
    deciding = said("write me a poem about the sea", ">Waves", "now summarize it in one sentence")
    assert deciding.text == "now summarize it in one sentence"
    assert deciding.embedded_text == deciding.text


def test_what_others_say_after_it_does_not_decide() -> None:
    deciding = said("summarize this long thread for me", ">Sure", ">{tool result}")
    assert deciding.embedded_text == "summarize this long thread for me"


@pytest.mark.parametrize("last", ["ok", "yes, do it", "and now in French"])
def test_a_turn_too_short_to_stand_alone_is_embedded_behind_the_one_before(last: str) -> None:
    deciding = said("prove that there are infinitely many primes", ">Shall I?", last)
    assert deciding.text == last
    assert deciding.embedded_text == f"prove that there are infinitely many primes\n{last}"


def test_a_turn_of_just_enough_words_stands_alone() -> None:
    words = " ".join(["word"] * MIN_STANDALONE_WORDS)
    assert said("something else entirely was asked here", words).embedded_text == words


def test_short_turns_are_joined_until_they_can_stand() -> None:
    deciding = said("summarize this email in two sentences", "shorter", "ok", "yes")
    assert deciding.embedded_text == "summarize this email in two sentences\nshorter\nok\nyes"


def test_joining_stops_as_soon_as_the_text_can_stand() -> None:
    deciding = said("the first request of all", "one two three four", "go on")
    assert deciding.embedded_text == "one two three four\ngo on"


def test_a_first_turn_stands_alone_however_short() -> None:
    assert said("hi").embedded_text == "hi"


TURNS = st.lists(
    st.builds(Turn, by_user=st.booleans(), text=st.text(max_size=30)), max_size=8
).filter(lambda turns: any(turn.by_user for turn in turns))


@given(TURNS)
def test_the_embedded_text_ends_with_the_deciding_one_and_holds_only_what_the_user_said(
    turns: list[Turn],
) -> None:
    by_user = [turn.text for turn in turns if turn.by_user]
    deciding = of_conversation(turns)
    assert deciding.text == by_user[-1]
    tails = ["\n".join(by_user[start:]) for start in range(len(by_user))]
    assert deciding.embedded_text in tails


@given(TURNS, st.text(max_size=50))
def test_what_others_say_never_changes_what_decides(turns: list[Turn], text: str) -> None:
    other = Turn(by_user=False, text=text)
    with_others = [one for turn in turns for one in (other, turn)] + [other]
    assert of_conversation(with_others) == of_conversation(turns)


def test_a_short_prompt_is_embedded_as_it_is() -> None:
    prompt = "tl;dr of this\n\nthread"
    assert of_prompt(prompt) == DecidingText(text=prompt, embedded_text=prompt)


def test_of_a_long_prompt_the_first_and_the_last_line_are_embedded() -> None:
    pasted = "\n".join(f"line {number} of the log" for number in range(100))
    deciding = of_prompt(f"What went wrong here?\n\n{pasted}\nAnswer in one sentence.")
    assert deciding.embedded_text == "What went wrong here? \n Answer in one sentence."
    assert deciding.text.startswith("What went wrong here?")


@given(st.text(min_size=LONG_CHARACTERS + 1, max_size=5_000))
def test_what_is_embedded_of_a_long_prompt_is_bounded(prompt: str) -> None:
    words = of_prompt(prompt).embedded_text.split()
    assert len(words) <= HEAD_WORDS + TAIL_WORDS


@pytest.mark.parametrize(
    "greeting",
    ["Hi, ", "hello there! ", "Good morning team, ", "HEY - ", "Dear assistant, ", "Hi! Hello, "],
)
def test_a_greeting_before_a_request_is_not_embedded(greeting: str) -> None:
    request = "translate this into French"
    deciding = of_prompt(greeting + request)
    assert deciding.embedded_text == request
    assert deciding.text == greeting + request


@pytest.mark.parametrize(
    "alone", ["hi", "Hello there!", "hey you", "highlight this line", "Hi Tom"]
)
def test_a_greeting_alone_is_embedded(alone: str) -> None:
    assert of_prompt(alone).embedded_text == alone


@pytest.mark.parametrize(
    "closing", ["thanks, great job!", "thx", "Perfect, thank you!", "ok bye", "lol", "nice one :)"]
)
def test_thanks_and_farewells_stand_alone(closing: str) -> None:
    turns = [Turn(by_user=True, text="prove it for all n"), Turn(by_user=True, text=closing)]
    assert of_conversation(turns).embedded_text == closing


@pytest.mark.parametrize("turn", ["ok", "well?", "again", "thanks, now shorter", "a lot more work"])
def test_a_short_turn_that_asks_for_more_is_embedded_behind_the_turn_before(turn: str) -> None:
    turns = [Turn(by_user=True, text="prove it for all n"), Turn(by_user=True, text=turn)]
    assert of_conversation(turns).embedded_text == f"prove it for all n\n{turn}"
