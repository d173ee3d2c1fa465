"""The encoder that serves: onnxruntime and tokenizers, nothing else.

One session is shared by all threads; onnxruntime releases the interpreter lock while it runs.
Every call embeds exactly one text, because dynamic quantization takes its scale from whatever is
in the batch: a text's vector must not depend on its neighbours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from tierwise_server.encoder.artifact import (
    BUILD_HINT,
    MODEL_FILE,
    TOKENIZER_FILE,
    Manifest,
    read_manifest,
)
from tierwise_server.encoder.errors import EncoderError
from tierwise_server.encoder.excerpt import Excerpt

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

INPUT_NAME = "token_ids"
OUTPUT_NAME = "vector"

SAMPLE_FLOOR = 0.999
"""The least cosine of a sample embedded now to the one recorded at build time."""

_ERRORS_ONLY = 3


class OnnxEncoder:
    """Embeds one text at a time into a unit vector. Thread-safe."""

    def __init__(
        self,
        manifest: Manifest,
        session: onnxruntime.InferenceSession,
        excerpt: Excerpt,
    ) -> None:
        self.manifest = manifest
        self.encoder_id = manifest.encoder_id
        self.model_id = manifest.model_id
        self.dimensions = manifest.dimensions
        self._session = session
        self.excerpt = excerpt
        self._output_names = [OUTPUT_NAME]

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Loads an artifact after checking that it is whole.

        Does not embed the samples; call `verify_samples` before serving.

        Raises:
            EncoderError: The artifact is missing, damaged, or not one of ours.
        """
        manifest = read_manifest(folder)
        try:
            tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
        except Exception as error:
            # The tokenizers library raises bare `Exception` for a file that it cannot read.
            raise EncoderError(
                f"Encoder file {folder / TOKENIZER_FILE} does not load "
                f"({_first_line(error)}): {BUILD_HINT}."
            ) from error
        session = _open_session(folder / MODEL_FILE)
        return cls(manifest, session, Excerpt(tokenizer, manifest.excerpt))

    def encode(self, text: str) -> NDArray[np.float32]:
        """Returns the unit vector of `text`, shape (dimensions,)."""
        return self.encode_ids(self.excerpt.token_ids(text))

    def encode_ids(self, token_ids: list[int]) -> NDArray[np.float32]:
        """Returns the unit vector of tokens that `Excerpt` has cut, shape (dimensions,)."""
        batch = np.array((token_ids,), dtype=np.int64)
        vectors = self._session.run(self._output_names, {INPUT_NAME: batch})[0]
        vector: NDArray[np.float32] = vectors[0]
        # Vectors are shared, by the cache above all.
        vector.flags.writeable = False
        return vector

    def verify_samples(self) -> None:
        """Embeds the samples of the manifest again.

        Raises:
            EncoderError: A vector has moved, so this machine would not agree with the others.
        """
        for sample in self.manifest.samples:
            recorded = np.asarray(sample.vector, dtype=np.float32)
            if recorded.shape != (self.dimensions,):
                raise EncoderError(
                    f"Encoder {self.encoder_id} has a sample of {recorded.size} dimensions "
                    f"instead of {self.dimensions}: {BUILD_HINT}."
                )
            cosine = float(recorded @ self.encode(sample.text))
            # Written so that NaN, too, is refused.
            if not cosine >= SAMPLE_FLOOR:
                raise EncoderError(
                    f"Encoder {self.encoder_id} gives other vectors here than where it was "
                    f"built (cosine {cosine:.4f}, at least {SAMPLE_FLOOR} needed for "
                    f"{sample.text[:40]!r}): {BUILD_HINT} on this machine."
                )


def _open_session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # Concurrency comes from the lanes. Threads inside one inference, and above all threads that
    # spin while they wait, take the processor from the other lanes and the event loop.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = _ERRORS_ONLY
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        # onnxruntime's errors share no base class below `Exception`.
        raise EncoderError(
            f"Encoder file {path} does not load ({_first_line(error)}): {BUILD_HINT}."
        ) from error
    inputs = [node.name for node in session.get_inputs()]
    outputs = [node.name for node in session.get_outputs()]
    if inputs != [INPUT_NAME] or outputs != [OUTPUT_NAME]:
        raise EncoderError(
            f"Encoder file {path} is no encoder (inputs {inputs}, outputs {outputs}): {BUILD_HINT}."
        )
    return session


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
