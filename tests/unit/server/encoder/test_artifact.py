from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tierwise_server.encoder.artifact import (
    MANIFEST_FILE,
    MODEL_FILE,
    TOKENIZER_FILE,
    Manifest,
    Pooling,
    Variant,
    read_manifest,
)
from tierwise_server.encoder.errors import EncoderError
from tierwise_server.encoder.excerpt import ExcerptRule

PARTS = (MODEL_FILE, TOKENIZER_FILE, MANIFEST_FILE)


def test_manifest_survives_the_file(manifest: Manifest) -> None:
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_manifest_describes_the_default_encoder(manifest: Manifest) -> None:
    assert manifest.encoder_id.startswith("all-minilm-l6-v2-")
    assert manifest.dimensions == 384
    assert manifest.max_tokens == 128
    assert manifest.pooling is Pooling.MEAN
    assert manifest.variant is Variant.INT8
    assert [speed.token_count for speed in manifest.speed] == [10, 60, 128]
    assert all(len(sample.vector) == 384 for sample in manifest.samples)


def test_default_encoder_is_close_to_sentence_transformers(manifest: Manifest) -> None:
    assert manifest.parity.sentence_count > 50
    assert manifest.parity.mean_cosine > 0.985
    assert manifest.parity.min_cosine > 0.94


@pytest.mark.parametrize(
    "change",
    [
        {"weights_sha256": "0" * 64},
        {"tokenizer_sha256": "0" * 64},
        {"pooling": Pooling.CLS},
        {"excerpt": ExcerptRule.for_max_tokens(64)},
        {"variant": Variant.FP32},
    ],
    ids=str,
)
def test_encoder_id_changes_with_what_determines_vectors(
    manifest: Manifest, change: dict[str, Any]
) -> None:
    assert dataclasses.replace(manifest, **change).encoder_id != manifest.encoder_id


@pytest.mark.parametrize(
    "change",
    [{"model_sha256": "0" * 64}, {"built_with": {}}, {"speed": ()}, {"samples": ()}],
    ids=str,
)
def test_encoder_id_does_not_change_with_the_machine(
    manifest: Manifest, change: dict[str, Any]
) -> None:
    assert dataclasses.replace(manifest, **change).encoder_id == manifest.encoder_id


@pytest.mark.parametrize(
    ("model_id", "start"),
    [("BAAI/bge-small-en-v1.5", "bge-small-en-v1-5-"), ("///", "encoder-"), ("モデル", "encoder-")],
)
def test_encoder_id_starts_with_a_readable_name(
    manifest: Manifest, model_id: str, start: str
) -> None:
    assert dataclasses.replace(manifest, model_id=model_id).encoder_id.startswith(start)


def test_whole_artifact_is_accepted(artifact: Path, manifest: Manifest) -> None:
    assert read_manifest(artifact) == manifest


def test_folder_that_does_not_exist_says_how_to_build(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"No encoder at .*nowhere.*tierwise encoder build"):
        read_manifest(tmp_path / "nowhere")


@pytest.mark.parametrize("part", PARTS)
def test_missing_part_is_named(artifact: Path, part: str) -> None:
    (artifact / part).unlink()

    with pytest.raises(EncoderError, match=part):
        read_manifest(artifact)


@pytest.mark.parametrize("part", PARTS)
def test_part_that_is_a_folder_is_named(artifact: Path, part: str) -> None:
    (artifact / part).unlink()
    (artifact / part).mkdir()

    with pytest.raises(EncoderError, match=rf"{part} cannot be read"):
        read_manifest(artifact)


@pytest.mark.parametrize("part", [MODEL_FILE, TOKENIZER_FILE])
@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: content + b"\n"])
def test_damaged_part_is_named(artifact: Path, part: str, damage: Callable[[bytes], bytes]) -> None:
    path = artifact / part
    path.write_bytes(damage(path.read_bytes()))

    with pytest.raises(EncoderError, match=rf"{part} is damaged or foreign"):
        read_manifest(artifact)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"format": 2}, "format 1"),
        ({"variant": "int4"}, "int4"),
        ({"pooling": "max"}, "max"),
        ({"samples": 3}, "wrong type"),
        ({"samples": [{"text": "a"}]}, "wrong type"),
        ({"excerpt": {"max_tokens": 3}}, "wrong type"),
        ({"dimensions": "many"}, "many"),
        ({"colour": "red"}, "wrong keys: colour"),
        ({"max_tokens": None}, "wrong type"),
        ({"weights_sha256": "0" * 64}, "its content gives"),
        ({"encoder_id": "other-000000000000"}, "it says other-000000000000"),
    ],
)
def test_unusable_manifest_says_why(artifact: Path, change: dict[str, Any], complaint: str) -> None:
    path = artifact / MANIFEST_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))

    with pytest.raises(EncoderError, match=complaint):
        read_manifest(artifact)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
def test_manifest_that_is_no_json_object_is_refused(artifact: Path, content: bytes) -> None:
    (artifact / MANIFEST_FILE).write_bytes(content)

    with pytest.raises(EncoderError, match="is not usable"):
        read_manifest(artifact)


def test_errors_are_one_line(artifact: Path) -> None:
    (artifact / MANIFEST_FILE).write_text("{")

    with pytest.raises(EncoderError) as caught:
        read_manifest(artifact)

    assert "\n" not in str(caught.value)
