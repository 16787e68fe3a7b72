"""The type of columns that hold value objects of the domain."""

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import sqlalchemy as sa


class _Value(Protocol):
    @property
    def value(self) -> str: ...


V = TypeVar("V", bound=_Value)


class ValueObjectType(sa.TypeDecorator[V], Generic[V]):
    """A column that holds the `value` of a value object."""

    impl = sa.String
    cache_ok = True

    def __init__(self, type_: Callable[[str], V]) -> None:
        super().__init__()
        self.type_: Callable[[str], V] = type_

    def process_bind_param(self, value: V | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else value.value

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> V | None:
        # Checked again: a stricter rule in the model needs a migration of the rows it refuses.
        return None if value is None else self.type_(value)

    def compare_values(self, x: V | None, y: V | None) -> bool:
        # whether to store it: equal addresses may be spelled differently
        return (x and x.value) == (y and y.value)
