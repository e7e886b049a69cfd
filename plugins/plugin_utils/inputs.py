# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a person gave as extra variables, read as data.

Strings of extra variables are trusted templates to Ansible: a recipe value with a lookup in it would run as soon as a
task named its key. So no task names one; this reads them raw.

A recipe given by `-e @` may set every variable, Ansible's own and the settings too. One from others is given as recipe_file:
it is a single value, of which Ansible sees the name only.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.utils.vars import load_extra_vars

from ..module_utils.core.fault import Fault, Refused
from ..module_utils.core.recipe.inputs import RECIPE_FILE, Inputs, read_inputs

_MOST_BYTES = 2**20
# More than any number of a recipe has.
_MOST_DIGITS = 32


def given_variables(loader: DataLoader) -> dict[str, Any]:
    """Return the extra variables as plain data: the round trip through JSON drops trust and every other mark."""
    try:
        variables: dict[str, Any] = json.loads(json.dumps(load_extra_vars(loader), default=str))
    except RecursionError as error:
        found = "values nested too deeply to be read"
        raise Refused([Fault("depth", "extra variables", found, "flat ones", "correct them")]) from error
    return variables


def variables_with_recipe(loader: DataLoader) -> dict[str, Any]:
    """Return the extra variables with the recipe in the place of the recipe_file that holds it. Raises Refused."""
    variables = given_variables(loader)
    named = variables.get(RECIPE_FILE)
    if isinstance(named, str) and named.strip():
        variables[RECIPE_FILE] = read_recipe_file(named.strip())
    return variables


def given_inputs(loader: DataLoader, scope: str = "recipe") -> Inputs:
    """Return the recipe and the settings that were given. Raises Refused; `scope` is that of `read_inputs`."""
    return read_inputs(variables_with_recipe(loader), scope)


def read_recipe_file(named: str) -> dict[str, Any]:
    """Return the recipe that `named` is (JSON text), or that is in the file of that path, relative to the working directory.

    Raises Refused, without repeating what the file holds.
    """
    raw = named.encode(errors="surrogatepass") if named.startswith("{") else _content(Path(named).expanduser())
    if len(raw) > _MOST_BYTES:
        raise _fault(f"more than {_MOST_BYTES} bytes", "a recipe")
    try:
        recipe = json.loads(
            raw.decode("utf-8-sig"),
            parse_int=_number,
            parse_constant=_no_constant,
            object_pairs_hook=_without_doubles,
        )
    except RecursionError as error:
        raise _fault("JSON nested too deeply to be read", "a flat one") from error
    except UnicodeDecodeError as error:
        raise _fault(f"a byte at {error.start} that is not UTF-8", "JSON in UTF-8") from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}" + ("" if named.startswith("{") else f" of {named}")
        remedy = "correct it there, or at the end of the line before"
        raise _fault(f"no JSON: {error.msg} in {place}", "JSON", remedy) from error
    except _Unwanted as error:
        raise _fault(str(error), "JSON") from error
    if not isinstance(recipe, dict):
        raise _fault("JSON, but not an object", "an object with the recipe's keys")
    return recipe


def _content(path: Path) -> bytes:
    """Read the file, but not a device or a pipe, which may never end; one byte more than a recipe may have."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _fault(f"{path}, which is no file", "a file")
            return file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise _fault(f"{path}: {error.strerror}", "a file, or JSON") from error
    except ValueError as error:
        raise _fault("not a valid path", "a file, or JSON") from error


class _Unwanted(Exception):
    """What JSON allows, and no recipe has."""


def _number(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise _Unwanted("a number with too many digits")
    return int(digits)


def _no_constant(name: str) -> None:
    raise _Unwanted(f"the number {name}")


def _without_doubles(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key that stands twice: which value is meant is not known."""
    held: dict[str, Any] = {}
    for name, value in pairs:
        if name in held:
            raise _Unwanted(f"the key {name[:64]!r} twice")
        held[name] = value
    return held


def _fault(found: str, expected: str, remedy: str = "give the path of a recipe, or the recipe as JSON") -> Refused:
    return Refused([Fault(RECIPE_FILE, RECIPE_FILE, found, expected, remedy)])
