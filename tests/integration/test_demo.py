"""`make demo`: the first thing that anybody runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY

DEMO_TIMEOUT_S = 300
"""Embedding the shipped catalog takes a busy machine a minute or two."""


def test_the_demonstration_ends_with_a_prompt_that_an_edit_moved(encoder_dir: Path) -> None:
    done = subprocess.run(
        [sys.executable, "tests/demo.py"],
        cwd=REPOSITORY,
        env={
            **os.environ,
            "TIERWISE_CACHE_DIR": str(REPOSITORY / ".cache"),
            "TIERWISE_ENCODER": str(encoder_dir),
        },
        capture_output=True,
        text=True,
        timeout=DEMO_TIMEOUT_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    moved = re.findall(r"^> write a limerick .*\n  (\S+) / (\S+)", done.stdout, re.MULTILINE)
    assert moved == [("mid", "creative-writing"), ("budget", "short-drafts")]
    assert done.stdout.endswith("--- server stopped\n")
