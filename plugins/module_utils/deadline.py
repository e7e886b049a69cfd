# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A deadline for what is asked over a network as a whole.

The time-out of a socket is of each piece that is read: a service that sends a byte now and then never meets one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

# Seconds for the whole of an answer; the largest, an index of 64 MiB, takes that at 5 Mbit/s.
LONGEST_SECONDS = 120.0

_Result = TypeVar("_Result")


def within(seconds: float, call: Callable[[], _Result]) -> _Result:
    """Return what `call` returns, or raise what it raises; TimeoutError where that took longer than `seconds`.

    What is late runs on by itself, and ends with the process at the latest.
    """
    results: list[_Result] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            results.append(call())
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError(f"the answer took longer than {seconds:.0f} s")
    return results[0]
