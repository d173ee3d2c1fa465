"""What the rest of the service asks of an encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class TextEncoder(Protocol):
    """Embeds one text at a time. Implementations are thread-safe."""

    @property
    def encoder_id(self) -> str:
        """Says which vectors may be mixed: two encoders of one id give the same ones."""

    @property
    def dimensions(self) -> int:
        """Length of a vector."""

    def encode(self, text: str) -> NDArray[np.float32]:
        """Returns the unit vector of `text`, shape (dimensions,)."""
