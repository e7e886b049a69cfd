# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From what a person wrote to typed values: every fault is collected, none is raised."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..fault import Fault
from .parameter import Parameter

_TRUE = {"true", "yes", "on", "1"}
_FALSE = {"false", "no", "off", "0"}
_STRUCTURED = ("object", "objects", "list", "mapping")
_WHAT = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "mapping": "a mapping of names to text",
    "list": "a list of text",
    "object": "a mapping",
    "objects": "a list of mappings",
    "endpoint": "a URL, or a mapping of service to URL",
}


def is_unset(value: Any) -> bool:
    """Surveys send an empty string for what was not answered: that, null, and what holds nothing count as not given."""
    return value is None or (isinstance(value, str) and not value.strip()) or value == [] or value == {}


def shown(value: Any) -> str:
    """Return `value` shortly, for a message."""
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that `name` most likely is a slip of."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.84)
    return matches[0] if matches else None


def read_parameters(
    given: Mapping[str, Any], table: Sequence[Parameter], faults: list[Fault], where: str = ""
) -> dict[str, Any]:
    """Return a typed value for every parameter of `table`, its default (or None) where nothing was given.

    Faults are appended to `faults`; a parameter with a fault is left at None, so that checks of rules can go on.
    """
    values: dict[str, Any] = {}
    for parameter in table:
        place = f"{where}.{parameter.name}" if where else parameter.name
        raw = given.get(parameter.name)
        if is_unset(raw):
            values[parameter.name] = parameter.default
            if parameter.required:
                faults.append(
                    Fault(
                        "missing",
                        place,
                        "not given",
                        expected_of(parameter),
                        f"add {place}: {parameter.description}",
                    )
                )
            continue
        before = len(faults)
        value = values[parameter.name] = read_value(raw, parameter, faults, place)
        if reason := _not_served(value, parameter):
            # One fault for one parameter: what is wrong inside does not matter then.
            del faults[before:]
            faults.append(Fault("not_served", place, "a parameter that is not served", "", f"take it out: {reason}"))
    return values


def _not_served(value: Any, parameter: Parameter) -> str:
    """Say why what was given has no effect; empty where it has one, or asks for what is done anyway."""
    if value in parameter.words and isinstance(value, str):
        return parameter.words_not_served
    return parameter.not_served if value != parameter.default or parameter.default is None else ""


def expected_of(parameter: Parameter) -> str:
    """Return in words what values the parameter takes."""
    if parameter.choices:
        return "one of " + ", ".join(parameter.choices) if len(parameter.choices) > 1 else parameter.choices[0]
    text = _WHAT[parameter.kind]
    if parameter.kind == "integer" and parameter.minimum is not None and parameter.minimum == parameter.maximum:
        text = str(parameter.minimum)
    elif parameter.minimum is not None and parameter.maximum is not None:
        text = f"{text} from {parameter.minimum} to {parameter.maximum}"
    elif parameter.minimum is not None:
        text = f"{text} of at least {parameter.minimum}"
    return " or ".join((text, *parameter.words))


def read_value(raw: Any, parameter: Parameter, faults: list[Fault], place: str) -> Any:
    """Return `raw` as the parameter's kind, or None after adding a fault."""

    def fault(code: str) -> None:
        found = "a value of another kind" if hidden else shown(raw)
        faults.append(Fault(code, place, found, expected_of(parameter), f"correct {place}"))

    # A secret is never shown, not even one in the wrong place.
    hidden = parameter.secret or any(inner.secret for inner in parameter.properties)
    kind = parameter.kind
    if isinstance(raw, str) and raw.strip() in parameter.words:
        return raw.strip()
    if isinstance(raw, str) and kind in _STRUCTURED:
        raw = _from_text(raw)
    if kind == "object":
        if not isinstance(raw, Mapping):
            return fault("type")
        return read_known(raw, parameter.properties, faults, place)
    if kind == "objects":
        if not isinstance(raw, list) or not raw:
            return fault("type")
        entries = []
        for number, entry in enumerate(raw):
            if isinstance(entry, Mapping):
                entries.append(read_known(entry, parameter.properties, faults, f"{place}[{number}]"))
            else:
                found = "a value of another kind" if hidden else shown(entry)
                faults.append(Fault("type", f"{place}[{number}]", found, "a mapping", f"correct {place}"))
        return entries
    value = _plain_value(raw, kind)
    if value is None:
        return fault("type")
    if parameter.choices and value not in parameter.choices:
        return fault("choice")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if parameter.minimum is not None and value < parameter.minimum:
            return fault("range")
        if parameter.maximum is not None and value > parameter.maximum:
            return fault("range")
    return value


def read_known(given: Mapping[str, Any], table: Sequence[Parameter], faults: list[Fault], where: str) -> dict[str, Any]:
    """Like `read_parameters`, and every key that the table does not know is a fault."""
    faults.extend(unknown_keys(given, table, where))
    return read_parameters(given, table, faults, where)


def unknown_keys(given: Mapping[str, Any], table: Sequence[Parameter], where: str) -> list[Fault]:
    """Return a fault for each key of `given` that is not in `table`, naming the nearest key that is."""
    names = [parameter.name for parameter in table]
    found = []
    for key in given:
        if key not in names:
            place = f"{where}.{key}" if where else str(key)
            like = nearest(str(key), names)
            remedy = f"did you mean {like}?" if like else f"take {place} out"
            found.append(Fault("unknown_key", place, "a key that is not known", "a known parameter", remedy))
    return found


def _from_text(raw: str) -> Any:
    """Surveys and `-e key=value` have text only: read JSON out of it, and leave anything else as it is."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return raw


def _plain_value(raw: Any, kind: str) -> Any:
    """Return `raw` as `kind`, or None where it is not one."""
    if kind == "string":
        if isinstance(raw, str):
            return raw.strip()
        # Digits without quotes are a number to YAML and JSON; a name of digits is text all the same.
        return str(raw) if isinstance(raw, int) and not isinstance(raw, bool) else None
    if kind == "integer":
        if isinstance(raw, str) and raw.strip().lstrip("-").isascii() and raw.strip().lstrip("-").isdigit():
            raw = raw.strip()
            return int(raw) if len(raw) < 19 else None
        if isinstance(raw, float) and math.isfinite(raw) and raw.is_integer():
            return int(raw)
        return raw if isinstance(raw, int) and not isinstance(raw, bool) else None
    if kind == "boolean":
        if isinstance(raw, bool):
            return raw
        text = str(raw).strip().lower()
        return True if text in _TRUE else False if text in _FALSE else None
    if kind == "list":
        entries = [_plain_value(entry, "string") for entry in raw] if isinstance(raw, list) else [None]
        return None if None in entries else entries
    if kind == "mapping":
        if isinstance(raw, Mapping) and all(isinstance(entry, (str, int, float)) for entry in raw.values()):
            return {str(key): str(entry) for key, entry in raw.items()}
        return None
    if kind == "endpoint":
        if isinstance(raw, Mapping) and all(isinstance(entry, str) for entry in raw.values()):
            return {str(key): str(entry) for key, entry in raw.items()}
        return raw.strip() if isinstance(raw, str) else None
    raise ValueError(f"unknown kind of parameter: {kind}")
