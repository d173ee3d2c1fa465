"""What a router is made of, loaded from disk: the encoder and the catalogs.

Used by the server and by the commands that decide in their own process.
"""

from __future__ import annotations

import importlib.util
import logging
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tierwise_server.candidates.candidate import Candidate
from tierwise_server.catalog.faults import CatalogInvalidError
from tierwise_server.deciding import language
from tierwise_server.encoder.errors import EncoderError
from tierwise_server.encoder.onnx_encoder import OnnxEncoder
from tierwise_server.encoder.utterance_store import UtteranceEmbedder, UtteranceStore
from tierwise_server.live_catalog import EmbedUtterances, LiveCatalog, SelfTest
from tierwise_server.settings import Settings

logger = logging.getLogger(__name__)

BUILD_TIMEOUT_S = 900
"""Longest time that building the encoder may take; it takes under a minute."""


class ServeError(Exception):
    """Something does not load; the message is one line that says what, why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The encoder and the catalogs, the default catalog first."""

    encoder: OnnxEncoder
    catalogs: Mapping[str, LiveCatalog]
    candidates: Mapping[str, Candidate]
    """By the name of the catalog that each is for."""


def load_parts(settings: Settings) -> Parts:
    """Loads everything that the settings name; builds the default encoder where it is missing.

    Raises:
        ServeError: Something does not load.
    """
    encoder = load_encoder(settings)
    # Now rather than with the first prompt that needs it.
    language.load()
    catalogs = {
        name: load_catalog(name, folder, encoder, settings)
        for name, folder in settings.catalogs.items()
    }
    candidates = {
        name: Candidate(name, folder, partial(_open_candidate, name, folder, encoder, settings))
        for name, folder in settings.candidates.items()
    }
    return Parts(encoder=encoder, catalogs=catalogs, candidates=candidates)


def _open_candidate(
    name: str, folder: Path, encoder: OnnxEncoder, settings: Settings
) -> LiveCatalog:
    # No catalog has such a name, so their vectors stay apart.
    return _open_catalog(f"{name}.candidate", folder, encoder, settings)


def load_encoder(settings: Settings) -> OnnxEncoder:
    """Loads the encoder and checks that it embeds as it did when it was built.

    The one in the cache folder is built where it is missing, and anew where it is not whole; one
    that the operator names is only loaded.

    Raises:
        ServeError: It is missing or not whole, and cannot be built.
    """
    folder = settings.encoder_path
    if not folder.exists() and not settings.encoder:
        _build_encoder(folder)
    try:
        return _checked_encoder(folder)
    except EncoderError as error:
        if settings.encoder or not _can_build():
            raise ServeError(str(error)) from error
        logger.error(  # noqa: TRY400 - the reason says it all
            "the built encoder is not whole and is built anew", extra={"reason": str(error)}
        )
    _build_encoder(folder)
    try:
        return _checked_encoder(folder)
    except EncoderError as error:
        raise ServeError(str(error)) from error


def _checked_encoder(folder: Path) -> OnnxEncoder:
    encoder = OnnxEncoder.load(folder)
    encoder.verify_samples()
    return encoder


def load_catalog(name: str, folder: Path, encoder: OnnxEncoder, settings: Settings) -> LiveCatalog:
    """Loads one catalog folder.

    Raises:
        ServeError: Its files are faulty.
    """
    try:
        live = _open_catalog(name, folder, encoder, settings)
    except CatalogInvalidError as error:
        count = len(error.faults)
        raise ServeError(
            f"catalog {folder} has {count} fault{'s' if count > 1 else ''}; the first:"
            f" {error.faults[0]} (`tierwise check {folder}` lists all)"
        ) from error
    tuned_for = live.snapshot.catalog.encoder
    if tuned_for is not None and tuned_for != encoder.model_id:
        logger.warning(
            "the catalog's thresholds were tuned for another encoder",
            extra={"catalog": name, "tuned_for": tuned_for, "encoder": encoder.model_id},
        )
    return live


def _open_catalog(name: str, folder: Path, encoder: OnnxEncoder, settings: Settings) -> LiveCatalog:
    stores = Path(settings.cache_path) / "vectors" / name
    embed, embed_evidence, embed_cases = (
        UtteranceEmbedder(
            UtteranceStore(folder, encoder.encoder_id), encoder, threads=settings.lane_count
        ).embed
        for folder in (stores, stores / "evidence", stores / "cases")
    )
    return LiveCatalog(
        name,
        folder,
        embed=embed,
        encoder_id=encoder.encoder_id,
        embed_evidence=embed_evidence,
        self_test=_self_test(settings.self_test_bar, embed_cases),
    )


def _self_test(bar: float, embed: EmbedUtterances) -> SelfTest | None:
    if not bar:
        return None
    # Here rather than at the top: it is off by default, and the start should take no longer.
    from tierwise_server import self_test  # noqa: PLC0415

    return self_test.SelfTest(bar, embed)


def _can_build() -> bool:
    return importlib.util.find_spec("sentence_transformers") is not None


def _build_encoder(folder: Path) -> None:
    """Builds the default encoder in a child process, so that this one never imports torch."""
    if not _can_build():
        raise ServeError(
            f"no encoder at {folder}: install the extra (`pip install 'tierwise[encoder]'`) and run"
            " `tierwise encoder build`, or copy a built one there"
        )
    logger.info("building the encoder", extra={"folder": str(folder)})
    command = (sys.executable, "-m", "tierwise.cli", "encoder", "build", "--output", str(folder))
    try:
        built = subprocess.run(  # noqa: S603 - our own command, no shell
            command, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ServeError(f"building the encoder took over {BUILD_TIMEOUT_S} s") from error
    if built.returncode != 0:
        last = built.stderr.strip().splitlines()[-1:] or ["no message"]
        raise ServeError(f"the encoder could not be built: {last[0]}")
