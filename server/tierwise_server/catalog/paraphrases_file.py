"""Owns the format of `paraphrases.yaml`: pairs of prompts that mean the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tierwise_server.catalog.document import Node
from tierwise_server.catalog.faults import FileFaults
from tierwise_server.catalog.ids import Location
from tierwise_server.catalog.schema import listing, read_record
from tierwise_server.catalog.values import language, text

PARAPHRASES_FILE: Final = "paraphrases.yaml"
"""Path of the file inside the catalog folder."""

MAX_PARAPHRASES: Final = 20_000
"""Most pairs."""

_MAX_LENGTH: Final = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Paraphrase:
    """Two prompts that mean the same. Neither is ever embedded into the index."""

    prompt: str
    reworded: str
    """The same in other words, or in another language."""
    language: str | None
    """ISO 639-1 code of `reworded` where it is a translation. None means another wording."""
    location: Location


def read_paraphrases(node: Node, faults: FileFaults) -> Sequence[Paraphrase]:
    """Returns the pairs that have no fault of their own."""
    return listing(_paraphrase, most=MAX_PARAPHRASES)(node, faults) or ()


def _paraphrase(node: Node, faults: FileFaults) -> Paraphrase | None:
    record = read_record(
        node,
        faults,
        what="a paraphrase",
        required=("prompt", "reworded"),
        optional=("language",),
    )
    if record is None:
        return None
    prompt = record.read("prompt", text(most=_MAX_LENGTH))
    reworded = record.read("reworded", text(most=_MAX_LENGTH))
    code = record.read("language", language)
    if prompt is None or reworded is None:
        return None
    return Paraphrase(
        prompt=prompt,
        reworded=reworded,
        language=code,
        location=Location(file=faults.file, line=record.node.line),
    )
