"""Runs every rule over a catalog, or those that need no encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tierwise_server.catalog.lint_rules import LintRule
from tierwise_server.catalog.model import Catalog
from tierwise_server.linting.confusion import confusion_findings, held_out_scores
from tierwise_server.linting.findings import Finding
from tierwise_server.linting.text_rules import text_findings
from tierwise_server.linting.vector_rules import vector_findings
from tierwise_server.questions import case_question
from tierwise_server.scoring import phrases_of
from tierwise_server.snapshot import embedded_texts

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
"""Returns a unit vector for each text."""

VECTOR_RULES: Final = (
    LintRule.NEAR_DUPLICATE,
    LintRule.NEAR_LEAK,
    LintRule.DEAD_UTTERANCE,
    LintRule.CONFUSABLE_TASKS,
    LintRule.MISPLACED_UTTERANCE,
)
"""Rules that need an encoder."""


def lint_texts(catalog: Catalog) -> list[Finding]:
    """Returns what can be found without an encoder."""
    return list(text_findings(catalog))


def lint_vectors(catalog: Catalog, embed: Embed, embed_cases: Embed) -> list[Finding]:
    """Returns what `VECTOR_RULES` find.

    Args:
        catalog: The catalog.
        embed: Embeds its utterances.
        embed_cases: Embeds its cases.
    """
    texts = embedded_texts(catalog)
    vectors = embed(texts)
    ours = vectors[: len(catalog.utterances)]
    # Gibberish and other languages are nobody's neighbours; the rest is, background included.
    case_vectors = embed_cases([case_question(one).query.embedded_text for one in catalog.cases])
    held_out = held_out_scores(catalog, vectors, tuple(map(phrases_of, texts)))
    return [
        *vector_findings(catalog, ours, catalog.cases, case_vectors),
        *confusion_findings(catalog, ours, held_out),
    ]
