"""Keeps the vectors of utterances on disk, so that a restart embeds only what is new.

The file is a cache: whatever is wrong with it, it counts as absent and is written anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tierwise_server.encoder.base import TextEncoder

logger = logging.getLogger(__name__)

_FORMAT = "tierwise-utterance-vectors-1"
_KEY_BYTES = 32
_FLOAT = np.dtype("<f4")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVectors:
    """What a store holds."""

    rows: dict[bytes, int]
    """Key of a text to its row in `matrix`."""

    matrix: NDArray[np.float32]
    """Unit vectors, shape (len(rows), dimensions); read-only."""


_NOTHING = StoredVectors(rows={}, matrix=np.empty((0, 0), dtype=np.float32))


def text_key(text: str) -> bytes:
    """Returns the key under which the vector of `text` is stored."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


class UtteranceStore:
    """One file of vectors in `folder`, for one encoder."""

    def __init__(self, folder: Path, encoder_id: str) -> None:
        self.path = folder / f"{encoder_id}.vectors"
        self._encoder_id = encoder_id

    def load(self) -> StoredVectors:
        """Returns what is stored; nothing when the file is absent, damaged or foreign."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return _NOTHING
        except OSError as error:
            logger.warning("Utterance vectors %s cannot be read: %s.", self.path, error.strerror)
            return _NOTHING
        try:
            return self._parse(content)
        except (ValueError, LookupError, TypeError) as error:
            logger.warning(
                "Utterance vectors %s are not usable and will be made anew: %s.", self.path, error
            )
            return _NOTHING

    def _parse(self, content: bytes) -> StoredVectors:
        line_end = content.find(b"\n")
        header = json.loads(content[:line_end]) if line_end >= 0 else None
        body = memoryview(content)[line_end + 1 :]
        if not isinstance(header, dict) or header.get("format") != _FORMAT:
            raise ValueError("not a file of utterance vectors")
        if header["encoder_id"] != self._encoder_id:
            raise ValueError(f"it belongs to encoder {header['encoder_id']}")
        if header["crc32"] != zlib.crc32(body):
            raise ValueError("the checksum does not match")
        count = int(header["count"])
        keys = count * _KEY_BYTES
        matrix = np.frombuffer(body, dtype=_FLOAT, offset=keys).reshape(
            count, int(header["dimensions"])
        )
        rows = {
            bytes(body[start : start + _KEY_BYTES]): row
            for row, start in enumerate(range(0, keys, _KEY_BYTES))
        }
        return StoredVectors(rows=rows, matrix=matrix)

    def save(self, keys: Sequence[bytes], matrix: NDArray[np.float32]) -> None:
        """Replaces what is stored, in one step that a reader never sees half done.

        Args:
            keys: The `text_key` of each row, each once.
            matrix: Unit vectors, shape (len(keys), dimensions).

        Raises:
            OSError: The folder cannot be written.
        """
        body = b"".join(keys) + np.ascontiguousarray(matrix, dtype=_FLOAT).tobytes()
        header = {
            "format": _FORMAT,
            "encoder_id": self._encoder_id,
            "count": len(keys),
            "dimensions": matrix.shape[1],
            # Against accidents, not attackers, and a sixth of the time of a digest.
            "crc32": zlib.crc32(body),
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(json.dumps(header).encode() + b"\n")
                file.write(body)
            Path(name).replace(self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


class UtteranceEmbedder:
    """Embeds the utterances of one catalog again and again, each of them once.

    Used from one thread at a time.
    """

    def __init__(self, store: UtteranceStore, encoder: TextEncoder, *, threads: int) -> None:
        """Embeds nothing yet.

        Args:
            store: The store of this encoder and catalog.
            encoder: What embeds the texts that the store does not hold.
            threads: How many texts are embedded at a time.
        """
        self._store = store
        self._encoder = encoder
        self._threads = threads
        self._texts: list[str] = []
        self._row_of: dict[str, int] | None = None
        self._matrix = _NOTHING.matrix
        self._saved_count = 0

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Returns the vectors of `texts`, embedding only those that were not there before.

        Afterwards the store holds exactly these texts. When it cannot be written, that is logged
        and the next start embeds again.

        Args:
            texts: In any order, repeated or not.

        Returns:
            Unit vectors, shape (len(texts), dimensions), in the order of `texts`.
        """
        before = self._stored(texts) if self._row_of is None else self._row_of
        row_of = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        missing = [text for text in row_of if text not in before]
        matrix = np.empty((len(row_of), self._encoder.dimensions), dtype=np.float32)
        kept = [text for text in row_of if text in before]
        if kept:
            matrix[[row_of[text] for text in kept]] = self._matrix[[before[text] for text in kept]]
        if missing:
            logger.info("embedding utterances", extra={"utterances": len(missing)})
        with ThreadPoolExecutor(self._threads, thread_name_prefix="embed-utterances") as pool:
            for text, vector in zip(missing, pool.map(self._encoder.encode, missing), strict=True):
                matrix[row_of[text]] = vector
        self._row_of, self._matrix = row_of, matrix
        if missing or self._saved_count != len(row_of):
            self._save()
        return matrix[[row_of[text] for text in texts]]

    def _stored(self, texts: Sequence[str]) -> dict[str, int]:
        """Takes over what the store holds of the texts; returns their rows."""
        stored = self._store.load()
        self._matrix, self._saved_count = stored.matrix, len(stored.rows)
        keys = {text: text_key(text) for text in texts}
        return {text: stored.rows[key] for text, key in keys.items() if key in stored.rows}

    def _save(self) -> None:
        self._saved_count = len(self._matrix)
        try:
            self._store.save([text_key(text) for text in self._row_of or ()], self._matrix)
        except OSError as error:
            logger.warning(
                "Utterance vectors %s cannot be written: %s.", self._store.path, error.strerror
            )
