"""Measures a new encoder: parity with sentence-transformers, and speed."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import numpy as np

from tierwise_server.encoder.artifact import Parity, Speed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tierwise_server.encoder.onnx_encoder import OnnxEncoder
    from tierwise_server.encoder.source import Original

_SPEED_TOKEN_COUNTS = (10, 60, 128)
_SPEED_RUNS = 30


def measure_parity(encoder: OnnxEncoder, original: Original, texts: Sequence[str]) -> Parity:
    """Compares the vectors of `texts` with those of `original`.

    Covers tokenizer, graph and quantization. A text that the excerpt cuts is compared on the
    tokens that are left, since sentence-transformers would cut it differently.
    """
    cosines = [float(encoder.encode(text) @ _reference(encoder, original, text)) for text in texts]
    return Parity(
        mean_cosine=round(statistics.fmean(cosines), 5),
        min_cosine=round(min(cosines), 5),
        sentence_count=len(texts),
    )


def _reference(encoder: OnnxEncoder, original: Original, text: str) -> NDArray[np.float32]:
    import torch  # noqa: PLC0415 (an extra)

    model = original.sentence_transformer
    token_ids = encoder.excerpt.token_ids(text)
    if len(token_ids) < encoder.manifest.max_tokens:
        vector = model.encode(text, show_progress_bar=False, convert_to_numpy=True)
    else:
        ids = torch.tensor([token_ids])
        with torch.inference_mode():
            output = model({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
        vector = output["sentence_embedding"][0].numpy()
    unit: NDArray[np.float32] = vector / np.linalg.norm(vector)
    return unit


def measure_speed(encoder: OnnxEncoder, texts: Sequence[str]) -> tuple[Speed, ...]:
    """Returns the median time to encode texts of a few lengths, on one thread."""
    ids = [token for text in texts for token in encoder.excerpt.token_ids(text)]
    counts = [n for n in _SPEED_TOKEN_COUNTS if n <= encoder.manifest.max_tokens]
    return tuple(
        Speed(token_count=count, p50_ms=_median_ms(encoder, ids[:count])) for count in counts
    )


def _median_ms(encoder: OnnxEncoder, token_ids: list[int]) -> float:
    times = []
    for _ in range(_SPEED_RUNS):
        start = time.perf_counter()
        encoder.encode_ids(token_ids)
        times.append(time.perf_counter() - start)
    return round(statistics.median(times) * 1e3, 2)
