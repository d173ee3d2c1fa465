"""The real encoder, built once per checkout, and the parts that its tests share."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from tierwise_server.encoder.artifact import TOKENIZER_FILE, Manifest, Variant, read_manifest
from tierwise_server.encoder.errors import EncoderError
from tierwise_server.encoder.excerpt import ExcerptRule
from tierwise_server.encoder.onnx_encoder import OnnxEncoder

_CACHE = Path(__file__).parents[4] / ".cache"
_MAX_TOKENS = 128

# In a process of its own, so that the tests themselves run without torch, as the server does.
_BUILD = """
import sys
from pathlib import Path
from tierwise_server.encoder.build import build_encoder
from tierwise_server.encoder.source import DEFAULT_MODEL
build_encoder(DEFAULT_MODEL, Path(sys.argv[1]))
"""


@pytest.fixture(scope="session")
def encoder_dir() -> Path:
    """The default encoder: TIERWISE_TEST_ENCODER, else built once into .cache/encoder."""
    if given := os.environ.get("TIERWISE_TEST_ENCODER"):
        return Path(given)
    folder = _CACHE / "encoder"
    _CACHE.mkdir(exist_ok=True)
    with (_CACHE / "encoder.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_current(folder):
            subprocess.run([sys.executable, "-c", _BUILD, str(folder)], check=True)
    return folder


def _is_current(folder: Path) -> bool:
    try:
        manifest = read_manifest(folder)
    except EncoderError:
        return False
    rule = ExcerptRule.for_max_tokens(_MAX_TOKENS)
    return manifest.excerpt == rule and manifest.variant is Variant.INT8


@pytest.fixture(scope="session")
def encoder(encoder_dir: Path) -> OnnxEncoder:
    return OnnxEncoder.load(encoder_dir)


@pytest.fixture(scope="session")
def manifest(encoder_dir: Path) -> Manifest:
    return read_manifest(encoder_dir)


@pytest.fixture(scope="session")
def tokenizer(encoder_dir: Path) -> Tokenizer:
    return Tokenizer.from_file(str(encoder_dir / TOKENIZER_FILE))


@pytest.fixture
def artifact(encoder_dir: Path, tmp_path: Path) -> Path:
    """A copy of the artifact that a test may damage."""
    return Path(shutil.copytree(encoder_dir, tmp_path / "encoder"))
