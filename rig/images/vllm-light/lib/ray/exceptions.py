# SPDX-License-Identifier: GPL-3.0-or-later
"""Ray's exceptions, by their names (ray/exceptions.py)."""

from __future__ import annotations


class RayError(Exception):
    """Whatever Ray itself raises."""


class AuthenticationError(RayError):
    """The token is missing or another one."""


class GetTimeoutError(RayError, TimeoutError):
    """`get` waited too long."""


class RayActorError(RayError):
    """The actor's process is gone."""


class RayTaskError(RayError):
    """A method raised; the text holds its traceback."""

    @classmethod
    def of(cls, kind: str, text: str) -> RayTaskError:
        """The error as Ray shows it: `RayTaskError(ValueError)`."""
        return type(f"RayTaskError({kind})", (cls,), {"__module__": cls.__module__})(text)
