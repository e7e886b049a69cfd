# SPDX-License-Identifier: GPL-3.0-or-later
"""Kubernetes' quantities (`500m`, `10Gi`) as numbers."""

from __future__ import annotations

import math
import re
from fractions import Fraction

_SUFFIXES: dict[str, Fraction] = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    "": Fraction(1),
    **{name: Fraction(1000**power) for power, name in enumerate(("k", "M", "G", "T", "P", "E"), 1)},
    **{f"{name}i": Fraction(1024**power) for power, name in enumerate(("K", "M", "G", "T", "P", "E"), 1)},
}
_QUANTITY = re.compile(r"^([+-]?\d*\.?\d+)(?:e([+-]?\d+)|([a-zA-Z]*))$", re.IGNORECASE)


def parse(text: str | int | float) -> Fraction:
    """The exact number a quantity stands for; ValueError when it is none."""
    match = _QUANTITY.match(str(text).strip())
    if not match or (match[3] or "") not in _SUFFIXES:
        raise ValueError(f"{text!r} is no quantity: expected a number with a suffix such as m, k, M, G, Ki, Mi, Gi")
    number = Fraction(match[1])
    if match[2]:
        return number * Fraction(10) ** int(match[2])
    return number * _SUFFIXES[match[3] or ""]


def in_units(text: str | int | float, divisor: str | int | float = "1") -> int:
    """A quantity in units of `divisor`, rounded up, as the downward API gives it."""
    return math.ceil(parse(text) / (parse(divisor) or 1))
