# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reading fields of a config.json, of which nothing can be taken for granted: not that a field is there, nor its type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# Larger numbers than this are no size of a model; they would only make sums without meaning.
_LARGEST = 1 << 40


def as_integer(value: object, largest: int = _LARGEST) -> int | None:
    """Return the value when it is a whole number from 0 to `largest`, else None. True and False are not numbers here."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        if not value.is_integer():
            return None
        value = int(value)
    if isinstance(value, int) and 0 <= value <= largest:
        return value
    return None


def as_mapping(value: object) -> Mapping[str, Any]:
    """Return the value when it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def as_strings(value: object) -> tuple[str, ...]:
    """Return the strings of a list, else nothing."""
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, (list, tuple)) else ()


class Fields:
    """Typed access to the fields of one configuration object; the first of several names that is usable counts.

    What was asked for is remembered: a field that nobody asked for is one that the planner does not know.
    """

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.raw = raw
        self._read: set[str] = set()

    def take_defaults(self, defaults: Mapping[str, Any]) -> None:
        """Put the defaults in the place of fields that are not there."""
        self.raw = {**defaults, **self.raw}

    def value(self, name: str) -> Any:
        """The field as it stands, None where it is not there."""
        self._read.add(name)
        return self.raw.get(name)

    def unread(self, harmless: Iterable[str] = ()) -> list[str]:
        """Names of the fields with a value that were not asked for, but for the harmless ones."""
        known = self._read.union(harmless)
        return sorted(
            name
            for name, value in self.raw.items()
            if isinstance(name, str) and name not in known and value is not None
        )

    def integer(self, *names: str) -> int | None:
        """The first of these fields that is a whole number, or None."""
        for place, name in enumerate(names):
            value = self.value(name)
            if isinstance(value, (list, tuple)) and value:
                # Some repositories' own code wants one number per layer or per modality, all alike.
                value = value[0]
            number = as_integer(value)
            if number is not None:
                self._agreeing(names[place + 1 :], number)
                return number
        return None

    def _agreeing(self, names: Iterable[str], number: int) -> None:
        """Other names of a field that say the same are read, too; those that say otherwise are not."""
        self._read.update(name for name in names if self.raw.get(name) == number)

    def size(self, *names: str) -> int:
        """The first of these fields that is a positive whole number, or 0."""
        for place, name in enumerate(names):
            number = self.integer(name)
            if number:
                self._agreeing(names[place + 1 :], number)
                return number
        return 0

    def flag(self, name: str, default: bool = False) -> bool:
        """A field that is true or false, or the default."""
        value = self.value(name)
        return value if isinstance(value, bool) else default

    def optional_flag(self, *names: str) -> bool | None:
        """The first of these fields that is true or false, or None."""
        for name in names:
            value = self.value(name)
            if isinstance(value, bool):
                return value
        return None

    def text(self, *names: str) -> str:
        """The first of these fields that is a text, or ""."""
        for name in names:
            value = self.value(name)
            if isinstance(value, str):
                return value
        return ""

    def strings(self, name: str) -> tuple[str, ...]:
        """The texts of a list."""
        return as_strings(self.value(name))

    def integers(self, name: str) -> tuple[int, ...]:
        """The whole numbers of a list; empty when any item is none."""
        value = self.value(name)
        if not isinstance(value, (list, tuple)):
            return ()
        numbers = [as_integer(item) for item in value]
        return tuple(number for number in numbers if number is not None) if None not in numbers else ()

    def mapping(self, *names: str) -> Mapping[str, Any]:
        """The first of these fields that is a mapping with content, or an empty one."""
        for name in names:
            value = as_mapping(self.value(name))
            if value:
                return value
        return {}

    def has(self, names: Iterable[str]) -> bool:
        """Whether any of these fields stands there and is not null."""
        return any(self.value(name) is not None for name in names)
