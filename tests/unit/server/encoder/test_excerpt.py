from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from tierwise_server.encoder.errors import EncoderError
from tierwise_server.encoder.excerpt import Excerpt, ExcerptRule

RULE = ExcerptRule.for_max_tokens(128)
ANY_TEXT = st.text(st.characters(exclude_categories=()))
CLS, UNK, SEP = 101, 100, 102


@pytest.fixture(scope="module")
def excerpt(tokenizer: Tokenizer) -> Excerpt:
    return Excerpt(tokenizer, RULE)


def test_short_text_is_kept_whole(excerpt: Excerpt, tokenizer: Tokenizer) -> None:
    text = "Summarize this e-mail in two sentences, please."

    assert excerpt.token_ids(text) == tokenizer.encode(text).ids


@given(text=ANY_TEXT, repeat=st.integers(1, 400))
def test_any_text_gives_a_bounded_number_of_tokens(
    excerpt: Excerpt, text: str, repeat: int
) -> None:
    ids = excerpt.token_ids(text * repeat)

    assert 2 <= len(ids) <= RULE.max_tokens
    assert (ids[0], ids[-1]) == (CLS, SEP)
    assert ids == excerpt.token_ids(text * repeat)


@given(text=ANY_TEXT, repeat=st.integers(1, 400))
def test_window_is_bounded_in_bytes_and_valid(text: str, repeat: int) -> None:
    window = RULE.window(text * repeat)

    # One more for the space between head and tail.
    assert len(window.encode()) <= RULE.head_bytes + RULE.tail_bytes + 1


@given(text=st.text(max_size=200))
def test_window_of_a_short_text_is_the_text(text: str) -> None:
    assert RULE.window(text) == text.strip()


@given(head=st.text(min_size=1), tail=st.text(min_size=1), middle=st.text())
def test_window_of_a_long_text_starts_and_ends_like_it(head: str, tail: str, middle: str) -> None:
    text = head * RULE.head_bytes + middle + tail * RULE.tail_bytes
    window = RULE.window(text)
    kept = text.strip()

    assert window[:20].strip() in kept[:21]
    assert window[-20:].strip() in kept[-21:]


@pytest.mark.parametrize("filler", ["lorem ipsum ", "北京", "🎉", "x", "é", "\n\t", "1;"])
def test_instruction_at_either_end_survives(
    excerpt: Excerpt, tokenizer: Tokenizer, filler: str
) -> None:
    middle = filler * 20_000

    assert "translate" in tokenizer.decode(excerpt.token_ids(f"translate this: {middle}"))
    assert "translate" in tokenizer.decode(excerpt.token_ids(f"{middle} translate this"))


def test_middle_of_a_long_text_does_not_matter(excerpt: Excerpt) -> None:
    one, other = (f"{'start ' * 300}{middle}{'end ' * 300}" for middle in ("one", "other"))

    assert excerpt.token_ids(one) == excerpt.token_ids(other)


def test_cut_text_keeps_as_many_tokens_as_allowed(excerpt: Excerpt, tokenizer: Tokenizer) -> None:
    text = " ".join(str(number) for number in range(1000))

    ids = excerpt.token_ids(text)

    whole = tokenizer.encode(text).ids
    assert len(ids) == RULE.max_tokens
    assert ids[: RULE.head_tokens] == whole[: RULE.head_tokens]
    assert ids[-60:] == whole[-60:]


@pytest.mark.parametrize("text", ["", " \n\t ", "\x00\x01\x7f", "\ud800", "\u200b"])
def test_text_without_content_is_only_special_tokens(excerpt: Excerpt, text: str) -> None:
    assert excerpt.token_ids(text) == [CLS, SEP]


def test_one_huge_word_is_one_unknown_token_at_each_end(excerpt: Excerpt) -> None:
    assert excerpt.token_ids("x" * 32_768) == [CLS, UNK, UNK, SEP]


def test_lone_surrogates_are_left_out(excerpt: Excerpt) -> None:
    assert excerpt.token_ids("hel\udc00lo \ud83dworld") == excerpt.token_ids("hello world")


@pytest.mark.parametrize(
    ("field", "value"),
    [("head_tokens", 129), ("head_tokens", -1), ("head_bytes", 0), ("tail_bytes", -5)],
)
def test_rule_refuses_sizes_that_make_no_sense(field: str, value: int) -> None:
    with pytest.raises(ValueError, match=field):
        dataclasses.replace(RULE, **{field: value})


def test_no_room_beside_special_tokens_is_an_error(tokenizer: Tokenizer) -> None:
    with pytest.raises(EncoderError, match="max_tokens is 2"):
        Excerpt(tokenizer, ExcerptRule.for_max_tokens(2))


def test_tokenizer_without_special_tokens_is_an_error() -> None:
    bare = Tokenizer(WordLevel({"a": 0}))

    with pytest.raises(EncoderError, match="no special token"):
        Excerpt(bare, RULE)
