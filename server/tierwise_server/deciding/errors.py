"""What can be wrong with a request once it meets a catalog.

Each error names fields by their path in the routing input; `below` prefixes the path of the input
itself, which only the caller knows.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Self, TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


MAX_SHOWN_CHARACTERS = 100


def shown(value: str) -> str:
    """Returns a caller's own value as an error shows it: quoted, and cut where it is long."""
    if len(value) <= MAX_SHOWN_CHARACTERS:
        return repr(value)
    return f"{value[:MAX_SHOWN_CHARACTERS]!r} (cut)"


class RequestError(Exception):
    """A request that cannot be decided as it is; the caller has to change it."""

    @abstractmethod
    def below(self, path: str) -> Self:
        """Returns the error with a path put before that of each field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldFault:
    """One field that breaks its limits or contradicts another."""

    field: str
    """Path of the field in the words of the contract."""
    description: str
    """What is wrong, and what would be right."""


class InvalidFieldsError(RequestError):
    """Fields that break their limits or contradict each other."""

    def __init__(self, faults: Iterable[FieldFault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(f"{one.field}: {one.description}" for one in self.faults))

    def below(self, path: str) -> Self:
        """Returns the error with a path put before that of each field."""
        return type(self)(
            FieldFault(field=f"{path}.{one.field}", description=one.description)
            for one in self.faults
        )


class UnknownTierError(RequestError):
    """A tier that the catalog does not have."""

    def __init__(self, field: str, tier: str, known: tuple[str, ...]) -> None:
        super().__init__(
            f"{field}: no tier {shown(tier)} in the catalog; it has {', '.join(known)}"
        )
        self.field = field
        self.tier = tier
        self.known = known

    def below(self, path: str) -> Self:
        """Returns the error with a path put before that of the field."""
        return type(self)(f"{path}.{self.field}", self.tier, self.known)


class UnknownModelError(RequestError):
    """A model that the catalog does not have."""

    def __init__(self, field: str, model: str) -> None:
        super().__init__(f"{field}: no model {shown(model)} in the catalog")
        self.field = field
        self.model = model

    def below(self, path: str) -> Self:
        """Returns the error with a path put before that of the field."""
        return type(self)(f"{path}.{self.field}", self.model)


class EncoderMismatchError(RequestError):
    """A vector of another encoder than the server's."""

    def __init__(self, field: str, *, expected: str, actual: str) -> None:
        super().__init__(f"{field}: the server's encoder is {expected!r}, not {shown(actual)}")
        self.field = field
        self.expected = expected
        self.actual = actual

    def below(self, path: str) -> Self:
        """Returns the error with a path put before that of the field."""
        return type(self)(f"{path}.{self.field}", expected=self.expected, actual=self.actual)


def each_below(
    path: str, items: Iterable[_Item], work: Callable[[_Item], _Result]
) -> list[_Result]:
    """Applies a function to each item, and raises all their faults as one error.

    Args:
        path: Path of the list; the faults of its third item are below `path[2]`.
        items: What to apply the function to.
        work: Raises a `RequestError` for an item that is wrong.

    Raises:
        RequestError: `InvalidFieldsError` with the faults of all items, or, where there is none,
            the first error of another kind.
    """
    results: list[_Result] = []
    faults: list[FieldFault] = []
    other: RequestError | None = None
    for position, item in enumerate(items):
        try:
            results.append(work(item))
        except InvalidFieldsError as error:
            faults += error.below(f"{path}[{position}]").faults
        except RequestError as error:
            other = other or error.below(f"{path}[{position}]")
    if faults:
        raise InvalidFieldsError(faults)
    if other is not None:
        raise other
    return results
