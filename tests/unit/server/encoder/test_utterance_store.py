from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tierwise_server.encoder.onnx_encoder import OnnxEncoder
from tierwise_server.encoder.utterance_store import UtteranceEmbedder, UtteranceStore, text_key

TEXTS = ["summarize this", "translate to French", "fix the grammar", "débogue ce code \ud800"]


class CountingEncoder:
    """The real encoder, with a record of what it was asked to embed."""

    def __init__(self, encoder: OnnxEncoder) -> None:
        self.encoder_id = encoder.encoder_id
        self.dimensions = encoder.dimensions
        self.embedded: list[str] = []
        self._encoder = encoder

    def encode(self, text: str) -> NDArray[np.float32]:
        """Embeds `text` and remembers it."""
        self.embedded.append(text)
        return self._encoder.encode(text)


@pytest.fixture
def counting(encoder: OnnxEncoder) -> CountingEncoder:
    return CountingEncoder(encoder)


@pytest.fixture
def store(tmp_path: Path, encoder: OnnxEncoder) -> UtteranceStore:
    return UtteranceStore(tmp_path / "vectors", encoder.encoder_id)


def test_stored_vectors_come_back_bit_for_bit(store: UtteranceStore) -> None:
    matrix = np.random.default_rng(7).standard_normal((3, 384), dtype=np.float32)
    keys = [text_key(text) for text in ("a", "b", "c")]
    store.save(keys, matrix)

    stored = store.load()

    assert stored.rows == {key: row for row, key in enumerate(keys)}
    assert np.array_equal(stored.matrix, matrix)
    assert stored.matrix.dtype == np.float32


def test_absent_store_is_empty_and_silent(
    store: UtteranceStore, caplog: pytest.LogCaptureFixture
) -> None:
    assert store.load().rows == {}
    assert caplog.records == []


def test_store_of_no_texts_is_empty_and_valid(
    store: UtteranceStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.save([], np.empty((0, 384), dtype=np.float32))

    assert store.load().matrix.shape == (0, 384)
    assert caplog.records == []


def embed_all(
    texts: Sequence[str], store: UtteranceStore, encoder: CountingEncoder, *, threads: int
) -> NDArray[np.float32]:
    """Embeds as a process does that has just started."""
    return UtteranceEmbedder(store, encoder, threads=threads).embed(texts)


def test_later_calls_embed_only_what_is_new(
    store: UtteranceStore, counting: CountingEncoder, encoder: OnnxEncoder
) -> None:
    embedder = UtteranceEmbedder(store, counting, threads=1)
    embedder.embed(TEXTS[:3])
    counting.embedded.clear()

    matrix = embedder.embed([TEXTS[3], TEXTS[0]])

    assert counting.embedded == [TEXTS[3]]
    assert np.array_equal(matrix, [encoder.encode(TEXTS[3]), encoder.encode(TEXTS[0])])
    assert len(store.load().rows) == 2


def test_vectors_are_in_the_order_of_the_texts(
    store: UtteranceStore, counting: CountingEncoder, encoder: OnnxEncoder
) -> None:
    matrix = embed_all(TEXTS, store, counting, threads=2)

    assert matrix.dtype == np.float32
    assert np.array_equal(matrix, [encoder.encode(text) for text in TEXTS])


def test_second_start_embeds_nothing(store: UtteranceStore, counting: CountingEncoder) -> None:
    first = embed_all(TEXTS, store, counting, threads=2)
    counting.embedded.clear()

    second = embed_all(list(reversed(TEXTS)), store, counting, threads=2)

    assert counting.embedded == []
    assert np.array_equal(second, first[::-1])


def test_only_what_is_missing_is_embedded(store: UtteranceStore, counting: CountingEncoder) -> None:
    embed_all(TEXTS[:2], store, counting, threads=1)
    counting.embedded.clear()

    embed_all(TEXTS, store, counting, threads=1)

    assert counting.embedded == TEXTS[2:]


def test_removed_texts_leave_the_store(store: UtteranceStore, counting: CountingEncoder) -> None:
    embed_all(TEXTS, store, counting, threads=1)
    embed_all(TEXTS[:1], store, counting, threads=1)

    assert list(store.load().rows) == [text_key(TEXTS[0])]


def test_repeated_text_is_embedded_once(store: UtteranceStore, counting: CountingEncoder) -> None:
    matrix = embed_all(["a", "b", "a"], store, counting, threads=1)

    assert sorted(counting.embedded) == ["a", "b"]
    assert np.array_equal(matrix[0], matrix[2])


def test_no_texts_give_an_empty_matrix(store: UtteranceStore, counting: CountingEncoder) -> None:
    assert embed_all([], store, counting, threads=1).shape == (0, 384)


def _edit_header(**changes: object) -> Callable[[bytes], bytes]:
    def edit(content: bytes) -> bytes:
        line, _, body = content.partition(b"\n")
        return json.dumps({**json.loads(line), **changes}).encode() + b"\n" + body

    return edit


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content + b"\x00",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
        lambda content: b"",
        lambda content: b"\x80\x04\x95",
        lambda content: b"[]\n" + content,
        lambda content: content.partition(b"\n")[2],
        _edit_header(encoder_id="other-000000000000"),
        _edit_header(format="something else"),
        _edit_header(count=1),
        _edit_header(count=10**9),
        _edit_header(count="many"),
        _edit_header(count=None),
        _edit_header(dimensions=3),
        _edit_header(crc32=0),
        lambda content: b'{"format": "tierwise-utterance-vectors-1"}\n',
    ],
)
def test_damaged_store_is_logged_and_made_anew(
    store: UtteranceStore,
    counting: CountingEncoder,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[bytes], bytes],
) -> None:
    first = embed_all(TEXTS, store, counting, threads=1)
    store.path.write_bytes(damage(store.path.read_bytes()))
    counting.embedded.clear()

    second = embed_all(TEXTS, store, counting, threads=1)

    assert counting.embedded == TEXTS
    assert np.array_equal(second, first)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert len(store.load().rows) == len(TEXTS)


def test_store_that_cannot_be_read_is_logged(
    store: UtteranceStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.path.mkdir(parents=True)

    assert store.load().rows == {}
    assert "cannot be read" in caplog.text


def test_store_that_cannot_be_written_costs_only_time(
    tmp_path: Path, counting: CountingEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    blocked = UtteranceStore(tmp_path / "file" / "vectors", counting.encoder_id)

    matrix = embed_all(TEXTS, blocked, counting, threads=1)

    assert matrix.shape == (len(TEXTS), 384)
    assert "cannot be written" in caplog.text


def test_failed_write_leaves_the_old_store_and_nothing_else(store: UtteranceStore) -> None:
    store.path.mkdir(parents=True)

    with pytest.raises(OSError, match="directory"):
        store.save([text_key("a")], np.ones((1, 384), dtype=np.float32))

    assert list(store.path.parent.iterdir()) == [store.path]


def test_two_encoders_do_not_share_a_file(tmp_path: Path) -> None:
    one, other = (UtteranceStore(tmp_path, encoder_id) for encoder_id in ("one", "other"))
    one.save([text_key("a")], np.ones((1, 384), dtype=np.float32))

    assert other.load().rows == {}
