"""What a process does with its memory once it has loaded what it needs."""

from __future__ import annotations

import ctypes
import gc


def settle() -> None:
    """Spares the collector what is loaded for good, and gives back what loading took beside it.

    Reading files and fitting scores leave holes in the heap that the C library keeps: of the
    shipped catalog, some 25 MB.
    """
    gc.collect()
    gc.freeze()
    give_back()


def give_back() -> None:
    """Gives back what is free between what is in use. Takes some milliseconds."""
    # Of glibc alone; other C libraries lack it, and need it less.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
