"""The encoder artifact: a folder of model.onnx, tokenizer.json and manifest.json.

Owns the manifest, the encoder id and the check that a folder holds one whole artifact. It knows
nothing of how the parts are made (`build`) or run (`onnx_encoder`).
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from tierwise_server.encoder.errors import EncoderError
from tierwise_server.encoder.excerpt import ExcerptRule

if TYPE_CHECKING:
    from pathlib import Path

MODEL_FILE = "model.onnx"
TOKENIZER_FILE = "tokenizer.json"
MANIFEST_FILE = "manifest.json"

FORMAT = 1
"""Version of the manifest; a server refuses any other."""

BUILD_HINT = "build it with `tierwise encoder build`"


class Pooling(StrEnum):
    """How token vectors become one vector."""

    MEAN = "mean"
    CLS = "cls"


class Variant(StrEnum):
    """How the weights are stored; part of the encoder id, because each gives other vectors."""

    INT8 = "int8"
    """Dynamic int8, per-channel weights, reduced range: the default."""

    FP32 = "fp32"
    """As trained: exact, about twice the time and four times the memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How close the artifact comes to sentence-transformers on real sentences."""

    mean_cosine: float
    min_cosine: float
    sentence_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Median time to encode one text of `token_count` tokens on the building machine."""

    token_count: int
    p50_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A text and the vector it had when the artifact was built."""

    text: str
    vector: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What an artifact holds; `manifest.json` has the same keys."""

    model_id: str
    weights_sha256: str
    tokenizer_sha256: str
    model_sha256: str
    """Of model.onnx. Not part of the encoder id: the exported bytes vary with library versions."""

    dimensions: int
    max_tokens: int
    pooling: Pooling
    excerpt: ExcerptRule
    variant: Variant
    parity: Parity
    speed: tuple[Speed, ...]
    samples: tuple[Sample, ...]
    built_with: dict[str, str]
    """Library name to version, for whoever has to reproduce the artifact."""

    @property
    def encoder_id(self) -> str:
        """Names the vectors: two encoders share it exactly when theirs may be mixed.

        The model id gives it a readable start; the hash is of what determines the vectors, and so
        neither of the machine nor of the bytes of model.onnx.
        """
        identity = json.dumps(
            {
                "weights": self.weights_sha256,
                "tokenizer": self.tokenizer_sha256,
                "pooling": self.pooling.value,
                "excerpt": asdict(self.excerpt),
                "variant": self.variant.value,
            },
            sort_keys=True,
        )
        name = re.sub(r"[^a-z0-9]+", "-", self.model_id.rpartition("/")[2].lower()).strip("-")
        return f"{name or 'encoder'}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"

    def to_json(self) -> str:
        """Returns the text of `manifest.json`."""
        content = {"format": FORMAT, "encoder_id": self.encoder_id, **asdict(self)}
        return json.dumps(content, ensure_ascii=False, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Reads the text of `manifest.json`.

        Raises:
            ValueError: The text is no manifest, or was edited; the message says why.
        """
        raw = json.loads(text)
        if not isinstance(raw, dict) or raw.pop("format", None) != FORMAT:
            raise ValueError(f"this server reads format {FORMAT}")
        recorded_id = raw.pop("encoder_id", None)
        if wrong := raw.keys() ^ {field.name for field in fields(cls)}:
            raise ValueError(f"wrong keys: {', '.join(sorted(wrong))}")
        try:
            manifest = cls._from_fields(raw)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"a value has the wrong type: {error}") from error
        if recorded_id != manifest.encoder_id:
            raise ValueError(f"it says {recorded_id}, its content gives {manifest.encoder_id}")
        return manifest

    @classmethod
    def _from_fields(cls, raw: dict[str, Any]) -> Manifest:
        return cls(
            **{
                **raw,
                "dimensions": int(raw["dimensions"]),
                "max_tokens": int(raw["max_tokens"]),
                "pooling": Pooling(raw["pooling"]),
                "excerpt": ExcerptRule(**raw["excerpt"]),
                "variant": Variant(raw["variant"]),
                "parity": Parity(**raw["parity"]),
                "speed": tuple(Speed(**entry) for entry in raw["speed"]),
                "samples": tuple(
                    Sample(text=entry["text"], vector=tuple(map(float, entry["vector"])))
                    for entry in raw["samples"]
                ),
            }
        )


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file's content in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Reads the manifest of an artifact and checks every part of the folder against it.

    Raises:
        EncoderError: The folder holds no artifact, or one that is damaged or not ours.
    """
    manifest = _parse(folder)
    for name, expected in (
        (MODEL_FILE, manifest.model_sha256),
        (TOKENIZER_FILE, manifest.tokenizer_sha256),
    ):
        try:
            actual = sha256_of(folder / name)
        except OSError as error:
            raise EncoderError(
                f"Encoder file {folder / name} cannot be read ({error.strerror}): {BUILD_HINT}."
            ) from error
        if actual != expected:
            raise EncoderError(
                f"Encoder file {folder / name} is damaged or foreign: its SHA-256 is "
                f"{actual[:12]}…, the manifest says {expected[:12]}…; {BUILD_HINT}."
            )
    return manifest


def _parse(folder: Path) -> Manifest:
    path = folder / MANIFEST_FILE
    try:
        return Manifest.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise EncoderError(f"No encoder at {folder} (no {MANIFEST_FILE}): {BUILD_HINT}.") from error
    except OSError as error:
        raise EncoderError(
            f"Encoder manifest {path} cannot be read ({error.strerror}): {BUILD_HINT}."
        ) from error
    except ValueError as error:
        raise EncoderError(
            f"Encoder manifest {path} is not usable ({error}): {BUILD_HINT}."
        ) from error
