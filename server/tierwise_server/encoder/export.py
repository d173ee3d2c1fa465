"""Turns a sentence-transformers model into one ONNX graph from token ids to a unit vector.

Needs the `encoder` extra, which it imports only when called.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, assert_never

from tierwise_server.encoder.artifact import Pooling, Variant
from tierwise_server.encoder.onnx_encoder import INPUT_NAME, OUTPUT_NAME

if TYPE_CHECKING:
    from pathlib import Path

    import onnx
    import torch

_OPSET = 17
_ERRORS_ONLY = 3


def export_model(
    transformer: torch.nn.Module, pooling: Pooling, variant: Variant, folder: Path
) -> Path:
    """Writes the graph into `folder` in steps and returns the path of the last one.

    Args:
        transformer: The bare transformer, taking `input_ids`.
        pooling: How its token vectors become one.
        variant: How the weights are stored.
        folder: Where the graph and the files on the way to it go.
    """
    traced = folder / "traced.onnx"
    _trace(transformer, pooling, traced)
    plain = folder / "plain.onnx"
    _optimize(traced, plain, extended=False)
    match variant:
        case Variant.FP32:
            quantized = plain
        case Variant.INT8:
            quantized = folder / "int8.onnx"
            _quantize_int8(plain, quantized)
        case _:
            assert_never(variant)
    final = folder / "final.onnx"
    # Saved fused, so that a server does not fuse again at each start (40 % of the load time).
    # The extended level uses operators that every CPU build of onnxruntime has; only the level
    # above it depends on the processor.
    _optimize(quantized, final, extended=True)
    return final


def _trace(transformer: torch.nn.Module, pooling: Pooling, path: Path) -> None:
    import torch  # noqa: PLC0415 (an extra)

    class Graph(torch.nn.Module):
        """Transformer, pooling and normalisation.

        Takes one unpadded text, so there is neither a mask nor a second segment to pass in.
        """

        def __init__(self) -> None:
            super().__init__()
            self.transformer = transformer

        def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
            tokens = self.transformer(input_ids=token_ids).last_hidden_state
            pooled = tokens.mean(dim=1) if pooling is Pooling.MEAN else tokens[:, 0]
            return torch.nn.functional.normalize(pooled, dim=1)

    with warnings.catch_warnings():
        # The exporter warns of its own age and of every shape it traces; parity is measured.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Graph().eval(),
            (torch.ones((1, 8), dtype=torch.int64),),
            str(path),
            dynamo=False,
            opset_version=_OPSET,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_axes={INPUT_NAME: {1: "tokens"}},
        )


def _optimize(source: Path, target: Path, *, extended: bool) -> None:
    import onnxruntime  # noqa: PLC0415 (together with the rest of the extra)

    levels = onnxruntime.GraphOptimizationLevel
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = (
        levels.ORT_ENABLE_EXTENDED if extended else levels.ORT_ENABLE_BASIC
    )
    options.optimized_model_filepath = str(target)
    options.log_severity_level = _ERRORS_ONLY
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


def _quantize_int8(source: Path, target: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic  # noqa: PLC0415 (an extra)

    quantize_dynamic(
        _preprocessed(source),
        target,
        per_channel=True,
        # 7-bit weights: with 8 bits, a processor without VNNI saturates and gives other vectors.
        reduce_range=True,
        weight_type=QuantType.QInt8,
    )


def _preprocessed(source: Path) -> onnx.ModelProto:
    """Loads a graph and marks it as optimized, which the quantizer asks for in a warning."""
    import onnx  # noqa: PLC0415 (an extra)
    from onnxruntime.quantization.quant_utils import (  # noqa: PLC0415 (an extra)
        add_pre_process_metadata,
    )

    model = onnx.load(source)
    add_pre_process_metadata(model)
    return model
