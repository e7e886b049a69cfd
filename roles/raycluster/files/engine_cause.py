# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One known cause of an engine's end: its family of messages, and what to do about it."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Cause:
    """pattern: of the error; lasting: no restart fixes it; follows: where another process says something else, that came first."""

    pattern: re.Pattern[str]
    cause: str
    remedy: str
    lasting: bool = True
    follows: bool = False

    @property
    def text(self) -> str:
        """The cause with its remedy, as a person reads it."""
        return f"{self.cause}; {self.remedy}"


def lasting(pattern: str, cause: str, remedy: str) -> Cause:
    """A cause that no restart fixes."""
    return Cause(re.compile(pattern, re.IGNORECASE), cause, remedy)


def passing(pattern: str, cause: str, remedy: str) -> Cause:
    """A cause that may not come again."""
    return Cause(re.compile(pattern, re.IGNORECASE), cause, remedy, lasting=False)


def consequence(pattern: str, cause: str, remedy: str) -> Cause:
    """What one process says when another has ended."""
    return Cause(re.compile(pattern, re.IGNORECASE), cause, remedy, lasting=False, follows=True)
