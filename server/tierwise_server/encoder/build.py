"""Builds an encoder artifact from a sentence-transformers model.

Runs in a command or a child process, never in the serving process: it needs torch, from the
`encoder` extra.
"""

from __future__ import annotations

import importlib.metadata
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tierwise_server.encoder.artifact import (
    MANIFEST_FILE,
    MODEL_FILE,
    TOKENIZER_FILE,
    Manifest,
    Parity,
    Sample,
    Variant,
    sha256_of,
)
from tierwise_server.encoder.errors import EncoderError
from tierwise_server.encoder.excerpt import ExcerptRule
from tierwise_server.encoder.export import export_model
from tierwise_server.encoder.measure import measure_parity, measure_speed
from tierwise_server.encoder.onnx_encoder import OnnxEncoder
from tierwise_server.encoder.reference_texts import REFERENCE_TEXTS, SAMPLE_TEXTS
from tierwise_server.encoder.source import Original, Source, find_source, load_model

if TYPE_CHECKING:
    from collections.abc import Callable


DEFAULT_MAX_TOKENS = 128
"""128 tokens route as well as 256 do, at less than half the time."""

PARITY_FLOORS = {Variant.FP32: 0.9999, Variant.INT8: 0.97}
"""The least mean cosine to sentence-transformers that is accepted.

Without quantization only rounding is left. Dynamic int8 of the default model reaches 0.99, at which
routing loses nothing; static int8 at 0.92 was unusable. The floor lies between the two, above
the middle.
"""

_LIBRARIES = ("onnx", "onnxruntime", "sentence-transformers", "tokenizers", "torch", "transformers")
_NOT_MEASURED = Parity(mean_cosine=0.0, min_cosine=0.0, sentence_count=0)


def build_encoder(
    model: str,
    output: Path,
    *,
    variant: Variant = Variant.INT8,
    max_tokens: int = DEFAULT_MAX_TOKENS,
    progress: Callable[[str], None] = lambda _message: None,
) -> Manifest:
    """Builds the artifact of `model` at `output` and returns its manifest.

    An artifact that is already there is replaced once the new one is whole, and stays as it was
    when anything fails.

    Args:
        model: `DEFAULT_MODEL`, a local folder, or the hub name of a sentence-transformers model.
        output: The folder to write; one that holds anything besides an artifact is refused.
        variant: How the weights are stored.
        max_tokens: The most tokens the encoder reads; a model that reads fewer lowers it.
        progress: Called with one line at the start of each step.

    Raises:
        EncoderError: The model is missing, damaged or unsupported, or the result is too far from
            what sentence-transformers computes.
    """
    _prepare(output)
    progress(f"checking the weights of {model}")
    source = find_source(model)
    progress("loading the model with sentence-transformers")
    original = load_model(source)
    # Beside the output, so that the last step is a rename within one file system.
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as work:
        artifact = Path(work, "artifact")
        artifact.mkdir()
        progress(f"exporting it to ONNX, variant {variant}")
        excerpt = ExcerptRule.for_max_tokens(min(max_tokens, original.max_tokens or max_tokens))
        draft = _write_draft(source, original, variant, excerpt, artifact)
        progress(f"comparing {len(REFERENCE_TEXTS)} texts with sentence-transformers")
        encoder = OnnxEncoder.load(artifact)
        parity = measure_parity(encoder, original, REFERENCE_TEXTS)
        _check_parity(parity, draft)
        progress("measuring speed")
        manifest = replace(
            draft,
            parity=parity,
            speed=measure_speed(encoder, REFERENCE_TEXTS),
            samples=tuple(_sample(encoder, text) for text in SAMPLE_TEXTS),
        )
        _write_manifest(manifest, artifact)
        OnnxEncoder.load(artifact).verify_samples()
        _swap(artifact, output, aside=Path(work, "replaced"))
    progress(f"wrote {manifest.encoder_id} to {output}")
    return manifest


def _write_draft(
    source: Source, original: Original, variant: Variant, excerpt: ExcerptRule, artifact: Path
) -> Manifest:
    """Writes an artifact that loads, but has neither figures nor samples yet."""
    (artifact / TOKENIZER_FILE).write_text(original.tokenizer_json, encoding="utf-8")
    with tempfile.TemporaryDirectory(dir=artifact.parent) as work:
        final = export_model(original.transformer, original.pooling, variant, Path(work))
        final.rename(artifact / MODEL_FILE)
    draft = Manifest(
        model_id=source.model_id,
        weights_sha256=source.weights_sha256,
        tokenizer_sha256=sha256_of(artifact / TOKENIZER_FILE),
        model_sha256=sha256_of(artifact / MODEL_FILE),
        dimensions=original.dimensions,
        max_tokens=excerpt.max_tokens,
        pooling=original.pooling,
        excerpt=excerpt,
        variant=variant,
        parity=_NOT_MEASURED,
        speed=(),
        samples=(),
        built_with={name: importlib.metadata.version(name) for name in _LIBRARIES},
    )
    _write_manifest(draft, artifact)
    return draft


def _write_manifest(manifest: Manifest, artifact: Path) -> None:
    (artifact / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")


def _sample(encoder: OnnxEncoder, text: str) -> Sample:
    return Sample(text=text, vector=tuple(round(float(x), 6) for x in encoder.encode(text)))


def _check_parity(parity: Parity, draft: Manifest) -> None:
    floor = PARITY_FLOORS[draft.variant]
    # Written so that NaN, too, is refused.
    if not parity.mean_cosine >= floor:
        raise EncoderError(
            f"Encoder {draft.encoder_id} is too far from sentence-transformers: mean cosine "
            f"{parity.mean_cosine:.4f} over {parity.sentence_count} texts, at least {floor} "
            f"needed; choose another variant ({', '.join(Variant)}) or model."
        )


def _prepare(output: Path) -> None:
    """Makes room for `output`, and refuses a folder that holds anything besides an artifact."""
    ours = {MODEL_FILE, TOKENIZER_FILE, MANIFEST_FILE}
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        present = sorted(path.name for path in output.iterdir()) if output.exists() else []
    except OSError as error:
        raise EncoderError(
            f"Cannot write an encoder to {output} ({error.strerror}): give another folder."
        ) from error
    if foreign := [name for name in present if name not in ours]:
        raise EncoderError(
            f"Folder {output} holds more than an encoder ({foreign[0]}): give an empty or a new "
            f"one, since it is replaced as a whole."
        )


def _swap(artifact: Path, output: Path, *, aside: Path) -> None:
    """Puts `artifact` in the place of `output`, and the old one back if that fails."""
    replaced = output.exists()
    if replaced:
        output.rename(aside)
    try:
        artifact.rename(output)
    except OSError:
        if replaced:
            aside.rename(output)
        raise
