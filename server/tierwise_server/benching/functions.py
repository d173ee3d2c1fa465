"""Scorers that are functions of the caller's, named on the command line and nowhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from tierwise_server.benching.errors import BenchError
from tierwise_server.benching.samples import Sample

Function = Callable[[Sample, str], float | bool]
"""Takes a sample and an answer's text; returns a score from 0 to 1, or whether it is good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionScorer:
    """A function, and the task whose answers it scores."""

    name: str
    """`module:function`."""
    task: str
    """Empty for all tasks."""
    function: Function

    def applies_to(self, sample: Sample) -> bool:
        """Returns whether it scores answers to a sample."""
        return self.task in {"", sample.task}

    def score(self, sample: Sample, answer: str) -> float:
        """Returns the score.

        Raises:
            BenchError: The function failed, or returned no score.
        """
        try:
            found: object = self.function(sample, answer)
        except Exception as error:
            raise BenchError(
                f"{self.name} failed on sample {sample.id} with {type(error).__name__}"
            ) from error
        if not isinstance(found, int | float) or not 0 <= found <= 1:
            kind = "a number outside 0 to 1" if isinstance(found, int | float) else type(found)
            raise BenchError(f"{self.name} returned {kind} for sample {sample.id}, and no score")
        return float(found)


def load_function(given: str) -> FunctionScorer:
    """Imports a function: `MODULE:FUNCTION`, or `TASK=MODULE:FUNCTION` for one task.

    Modules are looked for in the current folder as well.

    Raises:
        BenchError: There is none.
    """
    task, separator, name = given.rpartition("=")
    module, colon, attribute = name.partition(":")
    if not colon or not module or not attribute or (separator and not task):
        raise BenchError(f"--function takes [TASK=]MODULE:FUNCTION, not {given!r}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        function = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise BenchError(f"--function {given}: {error}") from error
    if not callable(function):
        raise BenchError(f"--function {given}: it is no function")
    return FunctionScorer(name=name, task=task, function=function)
