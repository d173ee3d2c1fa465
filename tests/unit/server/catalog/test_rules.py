"""What rules match: conditions, whole-word keywords and patterns, one pass over the text."""

import string
import unicodedata
from collections.abc import Callable, Mapping
from typing import TypeAlias

import pytest
import re2
from hypothesis import assume, given
from hypothesis import strategies as st

from tierwise_server.catalog.loader import CatalogFiles, parse_catalog
from tierwise_server.catalog.model import Catalog
from tierwise_server.catalog.patterns import (
    InvalidPatternError,
    TextPatterns,
    compile_pattern,
    keyword_pattern,
)
from tierwise_server.catalog.rules import AttachmentKind

Parse: TypeAlias = Callable[[Mapping[str, str | bytes]], Catalog]

SMALLEST = {
    "catalog.yaml": "tiers: [only]\ndefault_tier: only\n",
    "tiers/only.yaml": "tier: only\ntasks: {one: {description: d, utterances: [hello there]}}\n",
}


def matches(when: str, *, text: str = "hello", **request: object) -> bool:
    rules = f"override:\n  - name: r\n    when: {when}\n    then: {{tier: only}}\n"
    content = {name: one.encode() for name, one in {**SMALLEST, "rules.yaml": rules}.items()}
    book = parse_catalog(CatalogFiles(content=content)).rules
    return book.override[0].matches(book.subject(text=text, **request))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("keyword", "text", "expected"),
    [
        ("contract", "check this contract", True),
        ("contract", "CONTRACT", True),
        ("contract", "(contract)", True),
        ("contract", "“contract” — it", True),
        ("contract", "contracts", False),
        ("contract", "subcontract", False),
        ("contract", "the_contract", False),
        ("contract", "contract2", False),
        ("contract", "contracté", False),
        ("legal advice", "I need legal\n  advice now", True),
        ("legal advice", "legaladvice", False),
        ("legal advice", "legal, advice", False),
        ("c++", "a C++ template", True),
        ("c++", "c++17", True),
        ("c++", "vitaminc++", False),
        (".net", "an asp.NET page", True),
        (".net", "a .network", False),
        ("naïve", "a NAÏVE reading", True),
        ("naïve", "a nai\u0308ve reading", True),
        ("straße", "die Straße dort", True),
        ("ärger", "kein Ärger", True),
        ("договор", "Проверь договор, пожалуйста", True),
        ("договор", "договором", False),
        ("翻訳", "この文を翻訳してください", True),
        ("review", "请review这段代码", True),
        ("계약", "계약서를 검토해줘", True),
        ("अनुवाद", "इसका अनुवाद।", True),
        ("अनुवाद", "अनुवादक", False),
        ("عقد", "راجع العقد، عقد، جديد", True),
        ("👍", "ok👍ok", True),
        ("a.b", "axb", False),
        ("(x)", "f(x)", True),
    ],
)
def test_keyword_is_a_whole_word_or_phrase(keyword: str, text: str, expected: bool) -> None:
    assert matches(f"{{keywords: ['{keyword}']}}", text=text) is expected


def test_any_keyword_will_do() -> None:
    when = "{keywords: [alpha, 'c++', 翻訳, '.net']}"

    assert [matches(when, text=text) for text in ("an alpha", "c++", "翻訳", "x.net", "beta")] == [
        True,
        True,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("regex", "text", "expected"),
    [
        ("'```'", "see\n```python\n```", True),
        ("'^SELECT '", "SELECT 1", True),
        ("'^SELECT '", "select 1", False),
        ("'(?i)^select '", "SELECT 1", True),
        ("'step [0-9]+'", "do step 12", True),
        ("' x '", "axb", False),
        ("'^.$'", "é", True),
    ],
)
def test_regex_occurs_somewhere_as_written(regex: str, text: str, expected: bool) -> None:
    assert matches(f"{{regex: {regex}}}", text=text) is expected


def test_regex_without_an_end_takes_linear_time() -> None:
    assert not matches("{regex: '(a+)+$'}", text="a" * 100_000 + "b")


@pytest.mark.parametrize(
    ("when", "request_part", "expected"),
    [
        ("{task_tag: [review, audit]}", {"task_tag": "audit"}, True),
        ("{task_tag: [review, audit]}", {"task_tag": "chat"}, False),
        ("{task_tag: [review]}", {}, False),
        ("{language: [de, fr]}", {"language": "fr"}, True),
        ("{language: [de, fr]}", {"language": "en"}, False),
        ("{language: [de]}", {}, False),
        ("{attachments: [image]}", {"attachments": frozenset({AttachmentKind.IMAGE})}, True),
        ("{attachments: [image]}", {"attachments": frozenset({AttachmentKind.AUDIO})}, False),
        ("{attachments: [image]}", {}, False),
        ("{min_characters: 5}", {"text": "12345"}, True),
        ("{min_characters: 5}", {"text": "1234"}, False),
        ("{max_characters: 5}", {"text": "12345"}, True),
        ("{max_characters: 5}", {"text": "123456"}, False),
        ("{max_characters: 1}", {"text": "😀"}, True),
    ],
)
def test_each_condition_by_itself(
    when: str, request_part: dict[str, object], expected: bool
) -> None:
    assert matches(when, **request_part) is expected  # type: ignore[arg-type]


def test_all_parts_of_a_condition_have_to_hold() -> None:
    when = "{keywords: [sql], regex: ';$', min_characters: 5, task_tag: [code]}"

    assert matches(when, text="my sql;", task_tag="code")
    assert not matches(when, text="my sql;", task_tag="chat")
    assert not matches(when, text="my sql", task_tag="code")
    assert not matches(when, text="my s q l;", task_tag="code")
    assert not matches(when, text="sql;", task_tag="code")


def test_rules_of_one_book_do_not_answer_for_each_other(parse: Parse) -> None:
    words = ["alpha", "beta", "gamma", "delta"]
    rules = "".join(
        f"  - {{name: {word}, when: {{keywords: [{word}], regex: '{word[0]}'}}, "
        "then: {tier: only}}\n"
        for word in words
    )
    book = parse({**SMALLEST, "rules.yaml": f"override:\n{rules}"}).rules

    for word in words:
        subject = book.subject(text=f"say {word} now")
        assert [rule.name for rule in book.override if rule.matches(subject)] == [word]


def test_text_with_a_lone_surrogate_is_matched_around_it() -> None:
    assert matches("{keywords: [contract]}", text="\ud800 contract")


@given(st.text(max_size=60), st.integers(0, 3))
def test_one_pass_finds_what_each_pattern_finds(text: str, repetition: int) -> None:
    patterns = [keyword_pattern(["a", "b c"]), r"\d+", "^$", "x*y", "[[:upper:]]", r"\pL\z"]
    encoded = (text * repetition).encode()

    assert TextPatterns(patterns).matching(encoded) == {
        position
        for position, pattern in enumerate(patterns)
        if compile_pattern(pattern).search(encoded)
    }


@given(st.characters(categories=["L", "M", "Nd"], max_codepoint=0x2FFF))
def test_letter_or_digit_beside_a_keyword_makes_another_word(letter: str) -> None:
    # Scripts that do not part words by spaces are the exception.
    assume(not re2.search(r"[\p{Thai}\p{Lao}\p{Tibetan}\p{Myanmar}\p{Khmer}\p{Hangul}]", letter))
    assume(letter == unicodedata.normalize("NFC", letter))

    assert not matches("{keywords: [word]}", text=f"a word{letter} here")


@given(st.characters(categories=["P", "Z"], max_codepoint=0x5FF).filter(lambda one: one != "_"))
def test_punctuation_beside_a_keyword_keeps_it_a_word(mark: str) -> None:
    assert matches("{keywords: [word]}", text=f"a{mark}word{mark}")


def test_many_rules_load_and_match(parse: Parse) -> None:
    rules = "".join(
        f"  - {{name: r{number}, when: {{keywords: [word{number}, 'other {number}']}}, "
        "then: {tier: only}}\n"
        for number in range(500)
    )
    book = parse({**SMALLEST, "rules.yaml": f"default:\n{rules}"}).rules
    subject = book.subject(text="some word499 and other 7 things " * 300)

    assert [rule.name for rule in book.default if rule.matches(subject)] == ["r7", "r499"]


def test_patterns_too_large_for_one_pass_match_all_the_same() -> None:
    patterns = TextPatterns([rf"{first}\pL{{55}}" for first in string.ascii_letters[:30]])

    assert patterns.matching(f"g{'é' * 55} h{'é' * 54}".encode()) == {6}


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("(", "missing )"), (r"(a)\1", "invalid escape"), ("a" * 40 + "{1000}" * 2, "repetition")],
)
def test_pattern_that_re2_refuses_says_why(pattern: str, message: str) -> None:
    with pytest.raises(InvalidPatternError, match=message.replace(")", r"\)")):
        compile_pattern(pattern)
