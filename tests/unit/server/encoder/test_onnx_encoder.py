from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest

from tierwise_server.encoder.artifact import (
    MANIFEST_FILE,
    MODEL_FILE,
    TOKENIZER_FILE,
    Manifest,
    read_manifest,
    sha256_of,
)
from tierwise_server.encoder.errors import EncoderError
from tierwise_server.encoder.onnx_encoder import OnnxEncoder
from tierwise_server.encoder.reference_texts import REFERENCE_TEXTS

HOSTILE_TEXTS = (
    "",
    " ",
    "\x00",
    "\ud800",
    "[PAD]",
    "[CLS][SEP]",
    "x" * 32_768,
    "🎉" * 5000,
    "か" * 9,
)


def write_manifest(artifact: Path, **changes: object) -> None:
    """Rewrites the manifest so that the checksums fit whatever the folder holds now."""
    manifest = dataclasses.replace(
        Manifest.from_json((artifact / MANIFEST_FILE).read_text()),
        model_sha256=sha256_of(artifact / MODEL_FILE),
        tokenizer_sha256=sha256_of(artifact / TOKENIZER_FILE),
        **changes,  # type: ignore[arg-type]
    )
    (artifact / MANIFEST_FILE).write_text(manifest.to_json())


def test_encoder_knows_its_manifest(encoder: OnnxEncoder, manifest: Manifest) -> None:
    assert encoder.encoder_id == manifest.encoder_id
    assert encoder.model_id == "all-minilm-l6-v2"
    assert encoder.dimensions == 384


@pytest.mark.parametrize(
    "text", [*HOSTILE_TEXTS, "summarize this"], ids=lambda text: ascii(text[:9])
)
def test_vector_is_a_unit_vector_for_any_text(encoder: OnnxEncoder, text: str) -> None:
    vector = encoder.encode(text)

    assert vector.dtype == np.float32
    assert vector.shape == (384,)
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-5)


def test_vector_cannot_be_changed_by_a_reader(encoder: OnnxEncoder) -> None:
    with pytest.raises(ValueError, match="read-only"):
        encoder.encode("hi")[0] = 1.0


def test_similar_texts_are_closer_than_others(encoder: OnnxEncoder) -> None:
    query, near, far = map(
        encoder.encode,
        ("summarize this email", "give me a short summary of the mail", "prove the theorem"),
    )

    assert query @ near > query @ far + 0.3


def test_vector_does_not_depend_on_what_else_is_embedded(encoder: OnnxEncoder) -> None:
    texts = REFERENCE_TEXTS[:30]
    alone = [encoder.encode(text) for text in texts]

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(encoder.encode, texts * 4))

    for position, vector in enumerate(together):
        assert np.array_equal(vector, alone[position % len(texts)])


def test_samples_verify_on_the_machine_that_built_them(encoder: OnnxEncoder) -> None:
    encoder.verify_samples()


def test_sample_that_moved_is_refused(artifact: Path, manifest: Manifest) -> None:
    first, second, *rest = manifest.samples
    moved = dataclasses.replace(first, vector=second.vector)
    write_manifest(artifact, samples=(moved, second, *rest))

    with pytest.raises(EncoderError, match=r"other vectors here.*0\.999 needed"):
        OnnxEncoder.load(artifact).verify_samples()


def test_sample_that_is_not_a_number_is_refused(artifact: Path, manifest: Manifest) -> None:
    sample = dataclasses.replace(manifest.samples[0], vector=(float("nan"),) * 384)
    write_manifest(artifact, samples=(sample,))

    with pytest.raises(EncoderError, match="cosine nan"):
        OnnxEncoder.load(artifact).verify_samples()


def test_sample_of_another_dimension_is_refused(artifact: Path, manifest: Manifest) -> None:
    sample = dataclasses.replace(manifest.samples[0], vector=(1.0,))
    write_manifest(artifact, samples=(sample,))

    with pytest.raises(EncoderError, match="sample of 1 dimensions"):
        OnnxEncoder.load(artifact).verify_samples()


@pytest.mark.parametrize("part", [MODEL_FILE, TOKENIZER_FILE])
def test_part_that_does_not_load_is_named(artifact: Path, part: str) -> None:
    (artifact / part).write_bytes(b"{}")
    write_manifest(artifact)

    with pytest.raises(EncoderError, match=rf"{part} does not load") as caught:
        OnnxEncoder.load(artifact)

    assert "\n" not in str(caught.value)


def test_graph_of_another_kind_is_refused(artifact: Path) -> None:
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "other", [value], [result])
    opset = onnx.helper.make_opsetid("", 17)
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8), artifact / MODEL_FILE
    )
    write_manifest(artifact)

    with pytest.raises(EncoderError, match=r"is no encoder \(inputs \['x'\], outputs \['y'\]\)"):
        OnnxEncoder.load(artifact)


def test_damaged_artifact_does_not_load(artifact: Path) -> None:
    path = artifact / MODEL_FILE
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)

    with pytest.raises(EncoderError, match="damaged or foreign"):
        OnnxEncoder.load(artifact)


def test_serving_imports_neither_torch_nor_what_builds_encoders(encoder_dir: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from tierwise_server.encoder.onnx_encoder import OnnxEncoder\n"
        "OnnxEncoder.load(Path(sys.argv[1])).verify_samples()\n"
        "heavy = {'torch', 'transformers', 'sentence_transformers', 'onnx'} & sys.modules.keys()\n"
        "print(sorted(heavy))"
    )

    finished = subprocess.run(
        [sys.executable, "-c", program, str(encoder_dir)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (finished.stdout, finished.stderr) == ("[]\n", "")


def test_checksums_of_the_artifact_hold(encoder_dir: Path, manifest: Manifest) -> None:
    assert read_manifest(encoder_dir).model_sha256 == manifest.model_sha256


def test_the_runtime_neither_tells_nor_keeps_anything(tmp_path: Path, encoder_dir: Path) -> None:
    program = (
        "import sys; from pathlib import Path;"
        "from tierwise_server.encoder.onnx_encoder import OnnxEncoder;"
        "OnnxEncoder.load(Path(sys.argv[1])).encode('hello')"
    )
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "ORT_"))
    }
    done = subprocess.run(
        [sys.executable, "-c", program, str(encoder_dir)],
        env=kept | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.rglob("*")) == []
