# SPDX-License-Identifier: GPL-3.0-or-later
"""Kubernetes resource quantities ("500m", "64Gi"): read, and written the way the API server writes them."""

from __future__ import annotations

import math
from decimal import Decimal, InvalidOperation

BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
DECIMAL = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
}


def read(quantity: str | int | float) -> Decimal:
    """The number that `quantity` stands for; ValueError when it is no quantity."""
    text = str(quantity).strip()
    factor = Decimal(1)
    if text[-2:] in BINARY:
        text, factor = text[:-2], Decimal(BINARY[text[-2:]])
    elif text[-1:] in DECIMAL:
        text, factor = text[:-1], DECIMAL[text[-1:]]
    try:
        return Decimal(text) * factor
    except InvalidOperation:
        raise ValueError(f"not a Kubernetes quantity: {quantity!r}") from None


def whole(quantity: str | int | float) -> int:
    """The quantity rounded up to a whole number, as Go's `Quantity.Value()` does."""
    return math.ceil(read(quantity))


def write_bytes(number: Decimal) -> str:
    """A number of bytes with the largest binary suffix that divides it."""
    count = math.ceil(number)
    for suffix, factor in reversed(BINARY.items()):
        if count and count % factor == 0:
            return f"{count // factor}{suffix}"
    return str(count)


def write_count(number: Decimal) -> str:
    """A number of CPUs or devices: whole, or in thousandths."""
    return str(int(number)) if number == int(number) else f"{math.ceil(number * 1000)}m"
