"""Runs one target under atheris, guided by coverage: `fuzz.py TARGET [SECONDS]`.

Ends with an input that breaks something, written beside the corpus, or after the time given.
Inputs that found new ways stay in `.cache/fuzz/TARGET` for the next run.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["tierwise_server"]):
    import targets

CORPUS = Path(__file__).resolve().parents[2] / ".cache" / "fuzz"
SLOWEST_S = 10
"""An input that takes longer is a finding: something is not bounded."""

MOST_BYTES = 8192


def main(argv: list[str]) -> None:
    """Fuzzes until something breaks or the time is up."""
    name = argv[1] if len(argv) > 1 else ""
    if name not in targets.TARGETS:
        sys.exit(f"usage: fuzz.py TARGET [SECONDS], of {', '.join(targets.TARGETS)}")
    seconds = int(argv[2]) if len(argv) > 2 else 60
    corpus = CORPUS / name
    corpus.mkdir(parents=True, exist_ok=True)
    for place, seed in enumerate(targets.seeds(name)):
        (corpus / f"seed-{place}").write_bytes(seed)
    atheris.Setup(
        [
            argv[0],
            str(corpus),
            f"-max_total_time={seconds}",
            f"-timeout={SLOWEST_S}",
            f"-max_len={MOST_BYTES}",
            f"-artifact_prefix={corpus.parent}/{name}-",
            "-rss_limit_mb=2048",
            "-print_final_stats=1",
        ],
        targets.TARGETS[name],
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
