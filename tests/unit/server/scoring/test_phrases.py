"""What the words of a prompt say of its tier."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise_server.scoring import NO_PHRASES, fit_scorer, phrases_of
from tierwise_server.scoring.phrases import PhraseHead

TEXTS = ["spell theorem", "spell lemma", "prove the theorem", "prove the lemma"]
TIERS = np.array([0, 0, 1, 1])


def fitted(smoothing: float = 0.2) -> PhraseHead:
    return PhraseHead.fit([phrases_of(text) for text in TEXTS], TIERS, 2, smoothing)


def test_a_text_has_its_words_its_pairs_and_its_first_word() -> None:
    # fix, the, typo; ^ fix, fix the, the typo.
    assert len(phrases_of("fix the typo")) == 6
    assert len(phrases_of("typo typo")) == 3


@pytest.mark.parametrize("same", ["FIX THE TYPO", "Fix the typo!", "  fix\nthe... typo?"])
def test_case_and_punctuation_make_no_difference(same: str) -> None:
    np.testing.assert_array_equal(phrases_of(same), phrases_of("fix the typo"))


@pytest.mark.parametrize("empty", ["", "  ", "?!"])
def test_a_text_without_words_has_no_phrases(empty: str) -> None:
    assert len(phrases_of(empty)) == 0


@given(text=st.text())
def test_any_text_has_ascending_phrases(text: str) -> None:
    phrases = phrases_of(text)
    assert phrases.dtype == np.uint32
    assert (np.diff(phrases.astype(np.int64)) > 0).all()


def test_words_of_one_tier_speak_for_it_and_shared_words_for_none() -> None:
    head = fitted()
    assert head.scores(phrases_of("prove")).argmax() == 1
    assert head.scores(phrases_of("spell")).argmax() == 0
    # "theorem" occurs once in either tier, but has more company in the second.
    spell, shared = head.scores(phrases_of("spell")), head.scores(phrases_of("theorem"))
    assert abs(shared[0]) < abs(spell[0]) / 2


def test_a_weight_is_the_smoothed_logarithm_of_count_over_expectation() -> None:
    # Both utterances have two phrases, "^ word" and "word", each of which counts 1 / sqrt(2).
    head = PhraseHead.fit([phrases_of("spell"), phrases_of("prove")], np.array([0, 1]), 2, 0.5)
    count = 1 / math.sqrt(2)
    seen, unseen = (math.log((one + 0.5) / (count / 2 + 0.5)) for one in (count, 0.0))
    expected = 2 * ((seen - unseen) / 2) / math.sqrt(2)
    np.testing.assert_allclose(
        head.scores(phrases_of("prove")), [-expected, expected], rtol=1e-5, atol=0
    )


def test_unknown_words_only_dilute() -> None:
    head = fitted()
    np.testing.assert_array_equal(head.scores(phrases_of("zebra")), [0, 0])
    alone, diluted = head.scores(phrases_of("prove")), head.scores(phrases_of("prove zebra"))
    assert 0 < diluted[1] < alone[1]


def test_more_smoothing_makes_phrases_say_less() -> None:
    prove = phrases_of("prove")
    assert fitted(2.0).scores(prove)[1] < fitted(0.2).scores(prove)[1]


def test_a_large_tier_does_not_lose_its_own_words_to_a_small_one() -> None:
    texts = [f"sort list number {one}" for one in range(200)] + ["prove it"]
    tiers = np.array([0] * 200 + [1])
    head = PhraseHead.fit([phrases_of(text) for text in texts], tiers, 2, 0.2)
    for word in ("sort", "list", "17"):
        assert head.scores(phrases_of(word)).argmax() == 0


@pytest.mark.parametrize("texts", [[], ["?"]])
def test_nothing_to_learn_from_says_nothing(texts: list[str]) -> None:
    tiers = np.zeros(len(texts), dtype=np.int64)
    head = PhraseHead.fit([phrases_of(text) for text in texts], tiers, 3, 0.2)
    np.testing.assert_array_equal(head.scores(phrases_of("prove")), [0, 0, 0])


def test_phrases_move_scores_between_tiers_only() -> None:
    vectors = np.eye(4, dtype=np.float32)
    scorer = fit_scorer(vectors, [0, 1, 2, 2], [0, 0, 1], phrases=[phrases_of(t) for t in TEXTS])
    query = np.full(4, 0.5, dtype=np.float32)
    without, moved = scorer.score(query), scorer.score(query, phrases_of("prove the lemma"))
    change = moved.task_scores - without.task_scores
    assert change[2] > 0 > change[0]
    assert change[0] == pytest.approx(change[1], abs=1e-6)
    leads = scorer.leads(query, phrases_of("prove the lemma"))
    assert [lead.score for lead in leads] == [moved.task_scores[:2].max(), moved.task_scores[2]]


def test_a_scorer_fitted_without_phrases_ignores_them() -> None:
    vectors = np.eye(3, dtype=np.float32)
    scorer = fit_scorer(vectors, [0, 1, 2], [0, 1, 2])
    np.testing.assert_array_equal(
        scorer.score(vectors[0], phrases_of("prove")).task_scores,
        scorer.score(vectors[0], NO_PHRASES).task_scores,
    )


def test_the_order_of_utterances_makes_no_difference_with_phrases() -> None:
    chance = np.random.default_rng(5)
    vectors = chance.normal(size=(40, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = np.repeat(np.arange(4), 10)
    phrases = [phrases_of(f"word{one % 7} word{one % 3} word{one}") for one in range(40)]
    shuffled = chance.permutation(40)
    left = fit_scorer(vectors, labels, [0, 0, 1, 1], phrases=phrases)
    right = fit_scorer(
        vectors[shuffled],
        labels[shuffled],
        [0, 0, 1, 1],
        phrases=[phrases[one] for one in shuffled],
    )
    asked = phrases_of("word1 word2 word30")
    np.testing.assert_array_equal(
        left.score(vectors[0], asked).task_scores, right.score(vectors[0], asked).task_scores
    )


def test_as_many_phrases_as_utterances_are_needed() -> None:
    with pytest.raises(ValueError, match="1 phrases and 2 task numbers"):
        fit_scorer(np.eye(2, dtype=np.float32), [0, 1], [0, 1], phrases=[NO_PHRASES])
