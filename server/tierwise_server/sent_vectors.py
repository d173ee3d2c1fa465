"""Checks vectors that callers send in place of text, and brings them to unit length."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tierwise_server.deciding.errors import EncoderMismatchError, FieldFault, InvalidFieldsError
from tierwise_server.routing import SentVector


def unit_of(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns a vector at unit length."""
    # In doubles, since the squares of small and large floats are zero and infinite.
    wide = values.astype(np.float64)
    return (wide / np.linalg.norm(wide)).astype(np.float32)


def check_vector(vector: SentVector, encoder_id: str, dimensions: int) -> None:
    """Refuses a vector that is none of the encoder's.

    Raises:
        EncoderMismatchError: Another encoder made it.
        InvalidFieldsError: It is not as the contract says.
    """
    if vector.encoder_id != encoder_id:
        raise EncoderMismatchError(
            "embedding.encoder_id", expected=encoder_id, actual=vector.encoder_id
        )
    problem = ""
    if len(vector.values) != dimensions:
        problem = f"needs {dimensions} values, got {len(vector.values)}"
    elif not np.isfinite(vector.values).all():
        problem = "has a value that is not finite"
    elif not vector.values.any():
        problem = "must not be all zero"
    if problem:
        raise InvalidFieldsError([FieldFault(field="embedding.values", description=problem)])
