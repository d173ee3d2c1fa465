"""`tierwise encoder`: builds what prompts are embedded with, and shows what is built."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tierwise_server.encoder.artifact import MANIFEST_FILE, Variant, read_manifest
from tierwise_server.encoder.build import DEFAULT_MAX_TOKENS, build_encoder
from tierwise_server.encoder.errors import EncoderError
from tierwise_server.encoder.source import DEFAULT_MODEL
from tierwise_server.settings import default_cache_dir, encoder_dir


def main(argv: Sequence[str]) -> int:
    """Runs the command and returns its exit status."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except EncoderError as error:
        print(f"tierwise encoder: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tierwise encoder", description="Builds and shows what prompts are embedded with."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    build = commands.add_parser("build", help="export, quantize and check a model")
    build.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        help="Name or folder of a sentence-transformers model; the default's weights come with a"
        " package, all others from a folder or a hub.",
    )
    build.add_argument(
        "--variant",
        choices=[variant.value for variant in Variant],
        default=Variant.INT8.value,
        help="How the weights are stored; the same on all replicas.",
    )
    build.add_argument(
        "--max-tokens",
        type=int,
        default=DEFAULT_MAX_TOKENS,
        help="Tokens of a prompt that are embedded.",
    )
    build.add_argument("--if-missing", action="store_true", help="Do nothing where one is built.")
    build.set_defaults(run=_build)
    show = commands.add_parser("show", help="print what is built")
    show.set_defaults(run=_show)
    for command in (build, show):
        command.add_argument(
            "--output",
            type=Path,
            default=encoder_dir(default_cache_dir()),
            metavar="DIR",
            help="Folder of the built encoder; default: in the cache folder.",
        )
    return parser


def _build(arguments: argparse.Namespace) -> int:
    if arguments.if_missing and (arguments.output / MANIFEST_FILE).exists():
        return _show(arguments)
    build_encoder(
        arguments.model,
        arguments.output,
        variant=Variant(arguments.variant),
        max_tokens=arguments.max_tokens,
        progress=lambda message: print(message, flush=True),
    )
    return _show(arguments)


def _show(arguments: argparse.Namespace) -> int:
    manifest = read_manifest(arguments.output)
    print(f"encoder {manifest.encoder_id} in {arguments.output}")
    print(
        f"  model {manifest.model_id}, {manifest.variant}, {manifest.dimensions} dimensions,"
        f" {manifest.max_tokens} tokens"
    )
    print(
        f"  cosine to sentence-transformers over {manifest.parity.sentence_count} texts:"
        f" mean {manifest.parity.mean_cosine:.4f}, least {manifest.parity.min_cosine:.4f}"
    )
    speeds = ", ".join(
        f"{one.p50_ms:.1f} ms for {one.token_count} tokens" for one in manifest.speed
    )
    print(f"  p50 when built: {speeds}")
    return 0
