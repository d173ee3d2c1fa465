import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise_server.deciding.request import RoutingRequest
from tierwise_server.planning.call import DEFAULT_OUTPUT_TOKENS, measure_call
from tierwise_server.planning.tokens import (
    FAMILIES,
    RATES,
    SAFETY_TOKENS,
    TokenFamily,
    character_kinds,
    estimate_tokens,
    family_of,
    kinds_of_language,
    upper_bound,
)

PROSE = "The committee will meet again in spring to settle the open questions of the budget. "


@pytest.mark.parametrize(
    ("provider", "name", "stated", "family"),
    [
        ("openai", "gpt-6-luna", None, TokenFamily.OPENAI),
        ("anthropic", "claude-opus-5-5", None, TokenFamily.ANTHROPIC),
        ("google", "gemini-4-argon", None, TokenFamily.GEMINI),
        ("mistral", "mistral-large-4", None, TokenFamily.MISTRAL),
        ("vllm", "meta-llama/Llama-3.3-70B", None, TokenFamily.OTHER),
        ("vllm", "openai/gpt-oss-120b", None, TokenFamily.OTHER),
        ("openrouter", "anthropic/claude-opus-5-5", None, TokenFamily.ANTHROPIC),
        ("openai", "gpt-6-luna", "llama", TokenFamily.OTHER),
        ("vllm", "anything", "mistral", TokenFamily.MISTRAL),
        ("vllm", "anything", "openai", TokenFamily.OPENAI),
    ],
)
def test_a_family_is_stated_or_told_by_provider_or_name(
    provider: str, name: str, stated: str | None, family: TokenFamily
) -> None:
    assert family_of(provider, name, stated) is family


def test_every_family_has_rates() -> None:
    assert len(RATES) == len(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_prose_makes_about_a_token_for_four_to_six_characters(family: TokenFamily) -> None:
    text = PROSE * 20
    tokens = estimate_tokens(family, len(text), character_kinds(text))
    assert len(text) / 6 < tokens < len(text) / 4


@pytest.mark.parametrize("family", FAMILIES)
def test_dense_text_makes_more_tokens_than_prose_of_the_same_length(family: TokenFamily) -> None:
    length = 1000
    prose = estimate_tokens(family, length, character_kinds(PROSE))
    for dense in ("7,381;9.04|", "漢字かな交じり文", "Быстрая лиса"):
        assert estimate_tokens(family, length, character_kinds(dense)) > 1.5 * prose


def test_kinds_are_shares_of_characters() -> None:
    kinds = character_kinds("ab 1,ж漢")
    assert kinds == pytest.approx((2 / 7, 1 / 7, 1 / 7, 1 / 7, 1 / 7, 1 / 7))


@given(st.text())
def test_kinds_of_any_text_add_up_to_one(text: str) -> None:
    kinds = character_kinds(text)
    assert sum(kinds) == pytest.approx(1.0)
    assert min(kinds) >= 0


def test_a_long_text_is_told_from_its_start_middle_and_end() -> None:
    text = "a" * 1_000_000 + "1" * 1_000_000 + "漢" * 1_000_000
    kinds = character_kinds(text)
    assert kinds.letter == pytest.approx(1 / 3)
    assert kinds.digit == pytest.approx(1 / 3)
    assert kinds.wide == pytest.approx(1 / 3)


def test_the_upper_bound_adds_the_share_and_the_constant() -> None:
    share = RATES[TokenFamily.OPENAI].safety_share
    assert upper_bound(TokenFamily.OPENAI, 1000) == 1000 + SAFETY_TOKENS + 1000 * share


def test_a_stated_count_is_taken_as_it_is_for_every_family() -> None:
    call = measure_call(RoutingRequest(text="hi", character_count=2, input_tokens=77), "en")
    assert set(call.input_tokens) == {77}
    assert set(call.safe_input_tokens) == {77}


def test_an_answer_without_a_stated_length_gets_the_assumption() -> None:
    call = measure_call(RoutingRequest(text="hi", character_count=2), "en")
    assert call.output_tokens == DEFAULT_OUTPUT_TOKENS
    assert not call.output_stated


def test_all_turns_count_not_only_the_last() -> None:
    short = measure_call(RoutingRequest(text="hi", character_count=2), "en")
    long = measure_call(RoutingRequest(text="hi", character_count=20_000), "en")
    assert min(long.input_tokens) > 1000 > max(short.input_tokens)


def test_without_a_text_the_language_tells_how_it_is_written() -> None:
    request = RoutingRequest(text_given=False, character_count=10_000)
    english, japanese = measure_call(request, "en"), measure_call(request, "ja")
    assert min(japanese.input_tokens) > 2 * max(english.input_tokens)
    assert kinds_of_language("ru").other > 0.5
