"""Prompts of a known length, made of the shipped catalog's own sentences."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import yaml
from harness import SHIPPED_CATALOG
from tokenizers import Tokenizer

from tierwise_server.deciding.language import detect_language


class PromptSource:
    """Distinct prompts of a known length, made of the shipped catalog's cases and utterances.

    Sentences are put in a new random order again and again, and runs of words are cut from that,
    so that words and their order are plausible and no prompt comes twice.
    """

    def __init__(self, encoder: Path, *, seed: int = 1) -> None:
        self._tokenizer = Tokenizer.from_file(str(encoder / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._random = random.Random(seed)  # noqa: S311 - repeatable, not secret
        self._special = len(self._tokenizer.encode("").ids)
        self._sentences = [sentence.split() for sentence in shipped_sentences()]
        self._length_of: dict[str, int] = {}
        self._made: set[str] = set()

    def of_tokens(self, tokens: int, count: int) -> list[str]:
        """Returns prompts that the encoder reads as this many tokens, special ones included."""
        wanted = tokens - self._special
        prompts: list[str] = []
        while len(prompts) < count:
            run: list[str] = []
            length = 0
            for word in self._words():
                run.append(word)
                length += self._word_length(word)
                if length > wanted:
                    run, length = [], 0
                elif length == wanted:
                    prompt = " ".join(run)
                    run, length = [], 0
                    if self._is_new(prompt) and self._token_count(prompt) == wanted:
                        prompts.append(prompt)
        return prompts[:count]

    def of_characters(self, characters: int, count: int) -> list[str]:
        """Returns prompts of this many characters."""
        prompts: list[str] = []
        while len(prompts) < count:
            text = " ".join(self._words())
            while len(text) < characters:
                text += " " + " ".join(self._words())
            # Cut at any place, as pasted text is; the encoder drops white space at the ends.
            prompt = text[: characters - 1] + "."
            if self._is_new(prompt):
                prompts.append(prompt)
        return prompts

    def _words(self) -> Iterator[str]:
        self._random.shuffle(self._sentences)
        for sentence in self._sentences:
            yield from sentence

    def _word_length(self, word: str) -> int:
        length = self._length_of.get(word)
        if length is None:
            length = self._length_of[word] = self._token_count(word)
        return length

    def _token_count(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def _is_new(self, prompt: str) -> bool:
        # A prompt taken for another language would not be embedded.
        if prompt in self._made or detect_language(prompt) not in {None, "en"}:
            return False
        self._made.add(prompt)
        return True


def shipped_sentences() -> list[str]:
    """Returns the texts of the shipped catalog that are English as far as can be told."""
    texts = [text for texts in shipped_utterances().values() for text in texts]
    for path in sorted((SHIPPED_CATALOG / "cases").glob("*.yaml")):
        cases = yaml.safe_load(path.read_text(encoding="utf-8"))
        texts += [case["prompt"] for case in cases if "prompt" in case]
    return [text for text in texts if text.isascii() and detect_language(text) in {None, "en"}]


def shipped_utterances() -> dict[str, list[str]]:
    """Returns the utterances of each task of the shipped catalog, by the task's id."""
    return {
        task: body["utterances"] for tier in shipped_tiers().values() for task, body in tier.items()
    }


def shipped_tiers() -> dict[str, dict[str, dict[str, list[str]]]]:
    """Returns the tasks of each tier of the shipped catalog, as its files have them."""
    documents = [
        yaml.safe_load(path.read_text(encoding="utf-8"))
        for path in sorted((SHIPPED_CATALOG / "tiers").glob("*.yaml"))
    ]
    return {document["tier"]: document["tasks"] for document in documents}
