"""The bounded excerpt: which part of a text the encoder reads.

A long text is cut twice. First at a character near a fixed number of bytes, so that tokenizing
costs the same whatever the caller sends; then by tokens. Both cuts keep the head and the tail,
because instructions sit at either end of a prompt. The rule is part of the encoder id: another
rule gives other vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

from tierwise_server.encoder.errors import EncoderError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Bytes that a token may need before the cut by bytes, and not the one by tokens, decides. English
# prose has about 4.5 a token, code about 3, Chinese 3 and Cyrillic 4. At 8, a tokenizer sees at
# most 1,024 bytes by default.
_BYTES_PER_TOKEN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ExcerptRule:
    """What of a text is kept."""

    max_tokens: int
    """The most tokens the encoder reads, special tokens included."""

    head_tokens: int
    """How many tokens of the head are kept when a text has too many; the tail gets the rest."""

    head_bytes: int
    """How much of the head reaches the tokenizer when a text is too long, in bytes of UTF-8.

    Bytes follow the script: Chinese has a token for every three bytes or one character, and a
    limit in characters that lets English through makes it four times as dear to tokenize.
    """

    tail_bytes: int
    """How much of the tail reaches the tokenizer when a text is too long, in bytes of UTF-8."""

    def __post_init__(self) -> None:
        """Refuses sizes that make no sense."""
        if not 0 <= self.head_tokens <= self.max_tokens:
            raise ValueError(f"head_tokens must be in 0..{self.max_tokens}: {self.head_tokens}")
        if self.head_bytes < 1 or self.tail_bytes < 1:
            raise ValueError("head_bytes and tail_bytes must be at least 1")

    @classmethod
    def for_max_tokens(cls, max_tokens: int) -> ExcerptRule:
        """Returns the rule that splits `max_tokens` evenly between head and tail."""
        half = max_tokens // 2
        return cls(
            max_tokens=max_tokens,
            head_tokens=half,
            head_bytes=half * _BYTES_PER_TOKEN,
            tail_bytes=half * _BYTES_PER_TOKEN,
        )

    def window(self, text: str) -> str:
        """Returns the part of `text` that reaches the tokenizer: head and tail, valid as UTF-8.

        White space around the text and lone surrogates, which a tokenizer refuses, are left out.
        """
        text = text.strip()
        limit = self.head_bytes + self.tail_bytes
        # No character has less than a byte: a text of more characters is cut without a look at
        # the rest of it.
        if len(text) <= limit:
            content = text.encode("utf-8", "ignore")
            if len(content) <= limit:
                return content.decode()
        head = text[: self.head_bytes].encode("utf-8", "ignore")[: self.head_bytes]
        tail = text[-self.tail_bytes :].encode("utf-8", "ignore")[-self.tail_bytes :]
        # Ignoring errors drops the character that a cut went through.
        return f"{head.decode('utf-8', 'ignore')} {tail.decode('utf-8', 'ignore')}"


class Excerpt:
    """Turns any text into the bounded list of token ids that the encoder reads.

    Thread-safe: it holds no state besides the tokenizer, which is never changed after
    construction.
    """

    def __init__(self, tokenizer: Tokenizer, rule: ExcerptRule) -> None:
        # Both would undo the cut below: truncation keeps the head only, padding adds tokens.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._rule = rule
        probe = tokenizer.encode("a")
        mask = probe.special_tokens_mask
        before = len(list(takewhile(bool, mask)))
        after = len(list(takewhile(bool, reversed(mask[before:]))))
        self._prefix = probe.ids[:before]
        self._suffix = probe.ids[len(mask) - after :]
        self._budget = rule.max_tokens - before - after
        self._head = min(rule.head_tokens, self._budget)
        if not before + after:
            raise EncoderError(
                "The tokenizer adds no special token, so an empty text would have no token at "
                "all: this model is not supported, choose another one."
            )
        if self._budget < 1:
            raise EncoderError(
                f"max_tokens is {rule.max_tokens}, which leaves no room beside {before + after} "
                f"special tokens: raise it."
            )

    def token_ids(self, text: str) -> list[int]:
        """Returns at most `max_tokens` token ids, special tokens included, never none."""
        ids: list[int] = self._tokenizer.encode(
            self._rule.window(text), add_special_tokens=False
        ).ids
        if len(ids) > self._budget:
            ids = ids[: self._head] + ids[len(ids) - (self._budget - self._head) :]
        return [*self._prefix, *ids, *self._suffix]
