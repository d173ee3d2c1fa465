"""How often the same thing is said in the log."""

from __future__ import annotations

import math
import time

INTERVAL_S = 60.0


class Throttle:
    """Allows something at most once a minute."""

    def __init__(self) -> None:
        self._last = -math.inf

    def due(self) -> bool:
        """Returns whether it is time; if so, not again for a minute."""
        now = time.monotonic()
        if now - self._last < INTERVAL_S:
            return False
        self._last = now
        return True
