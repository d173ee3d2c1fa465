"""Groups prompts that mean alike, without being told how many groups there are."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

ALIKE: Final = 0.45
"""Cosine to a group's centre from which a prompt belongs to it. With the default encoder, two
prompts of one task have a median near 0.4, and each of them is nearer to their centre."""

LEAST_PROMPTS: Final = 4
"""Prompts that make a group worth a task."""


def clusters(vectors: NDArray[np.float32]) -> list[list[int]]:
    """Returns groups of at least `LEAST_PROMPTS` rows, the largest first; the rest is left alone.

    The row with the most neighbours begins a group, its centre moves once to the mean of those, and
    what is near that leaves with it. Equal inputs give equal groups.
    """
    free = np.ones(len(vectors), dtype=np.bool_)
    groups = []
    while free.sum() >= LEAST_PROMPTS:
        rows = np.flatnonzero(free)
        near = vectors[rows] @ vectors[rows].T >= ALIKE
        seed = int(near.sum(axis=1).argmax())
        centre = vectors[rows[near[seed]]].mean(axis=0)
        centre /= max(float(np.linalg.norm(centre)), 1e-9)
        group = rows[vectors[rows] @ centre >= ALIKE]
        if len(group) < LEAST_PROMPTS:
            break
        order = np.argsort(-(vectors[group] @ centre), kind="stable")
        groups.append(group[order].tolist())
        free[group] = False
    return groups
