# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From what a person wrote to typed values: every fault is collected, none is raised."""

from __future__ import annotations

import difflib
import json
import math
import re
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..fault import Findings
from .formats import LINE, Format
from .parameter import Parameter

_TRUE = {"true", "yes", "on", "1"}
_FALSE = {"false", "no", "off", "0"}
_STRUCTURED = ("object", "objects", "list", "mapping")
_WHAT = {
    "string": "text",
    "integer": "a whole number",
    "boolean": "true or false",
    "mapping": "a mapping of names to text",
    "list": "a list of text",
    "object": "a mapping",
    "objects": "a list of mappings",
    "endpoint": "a URL, or a mapping of service to URL",
}
# No recipe needs more; whatever walks through a value may take it for bounded.
MOST_DEPTH = 16
_MOST_BITS = 1024
_LONGEST_NAME, _LONGEST_SHOWN = 64, 60
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = _LONGEST_SHOWN


def is_unset(value: Any) -> bool:
    """Surveys send an empty string for what was not answered: that, null, and what holds nothing count as not given."""
    return value is None or (isinstance(value, str) and not value.strip()) or value == [] or value == {}


def shown(value: Any) -> str:
    """Return `value` shortly and on one line, for a message."""
    try:
        text = repr(value[: 2 * _LONGEST_SHOWN]) if isinstance(value, str) else _SHORT.repr(value)
    except ValueError:
        # Python writes no number of more than 4300 digits.
        return "a number with thousands of digits"
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."


def place_of(where: str, key: Any) -> str:
    """Return the place of `key` inside `where`; a key that would spoil a message is quoted and cut."""
    name = str(key)
    if not name.isprintable() or len(name) > _LONGEST_NAME or not name:
        name = shown(name)
    return f"{where}.{name}" if where else name


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that `name` most likely is a typo of."""
    if len(name) > _LONGEST_NAME:
        return None
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.84)
    return matches[0] if matches else None


def check_bounds(value: Any, place: str, findings: Findings) -> None:
    """A value that is nested too deeply, or a number beyond all measure, is a fault: nothing else looks at it then."""
    level = [value]
    for _depth in range(MOST_DEPTH):
        inside: list[Any] = []
        for item in level:
            if isinstance(item, Mapping):
                inside.extend(item.values())
            elif isinstance(item, (list, tuple)):
                inside.extend(item)
            elif isinstance(item, int) and item.bit_length() > _MOST_BITS:
                findings.fault("bits", place, "a number with hundreds of digits", "a smaller one", f"correct {place}")
                return
        if not inside:
            return
        level = inside
    findings.fault("depth", place, f"a value nested more than {MOST_DEPTH} deep", "a flat one", f"correct {place}")


def read_parameters(
    given: Mapping[str, Any], table: Sequence[Parameter], findings: Findings, where: str = ""
) -> dict[str, Any]:
    """Return a typed value for every parameter of `table`, its default (or None) where nothing was given.

    A parameter with a fault is left at None, so that checks of rules can continue.
    """
    values: dict[str, Any] = {}
    for parameter in table:
        place = place_of(where, parameter.name)
        raw = given.get(parameter.name)
        if is_unset(raw):
            values[parameter.name] = parameter.default
            if parameter.required:
                remedy = f"add {place} ({parameter.description.rstrip('.')})"
                findings.fault("missing", place, "not given", expected_of(parameter), remedy)
            continue
        before = len(findings.faults)
        value = values[parameter.name] = read_value(raw, parameter, findings, place)
        if parameter.not_served and (value != parameter.default or parameter.default is None):
            # One fault for one parameter: what is wrong inside does not matter then.
            del findings.faults[before:]
            remedy = f"remove it: {parameter.not_served}"
            findings.fault("not_served", place, "a parameter that is not supported", "", remedy)
    return values


def expected_of(parameter: Parameter) -> str:
    """Return in words what values the parameter takes."""
    if parameter.choices:
        return "one of " + ", ".join(parameter.choices) if len(parameter.choices) > 1 else parameter.choices[0]
    text = _WHAT[parameter.kind]
    if parameter.kind == "string" and parameter.format is not LINE:
        text = parameter.format.expected
    elif parameter.kind == "integer" and parameter.minimum is not None and parameter.minimum == parameter.maximum:
        text = str(parameter.minimum)
    elif parameter.minimum is not None and parameter.maximum is not None:
        text = f"{text} from {parameter.minimum} to {parameter.maximum}"
    elif parameter.minimum is not None:
        text = f"{text} of at least {parameter.minimum}"
    return " or ".join((text, *parameter.words))


def read_value(raw: Any, parameter: Parameter, findings: Findings, place: str) -> Any:
    """Return `raw` as the parameter's kind, or None after adding a fault."""

    def fault(code: str) -> None:
        found = "a value of the wrong type" if parameter.hidden else shown(raw)
        findings.fault(code, place, found, expected_of(parameter), f"correct {place}")

    kind = parameter.kind
    if isinstance(raw, str) and raw.strip() in parameter.words:
        return raw.strip()
    if isinstance(raw, str) and kind in _STRUCTURED:
        raw = _from_text(raw)
        before = len(findings.faults)
        check_bounds(raw, place, findings)
        if len(findings.faults) > before:
            return None
    if kind == "object":
        if not isinstance(raw, Mapping):
            return fault("type")
        return read_known(raw, parameter.properties, findings, place)
    if kind == "objects":
        if not isinstance(raw, list) or not raw:
            return fault("type")
        entries = []
        for number, entry in enumerate(raw):
            if isinstance(entry, Mapping):
                entries.append(read_known(entry, parameter.properties, findings, f"{place}[{number}]"))
            else:
                found = "a value of the wrong type" if parameter.hidden else shown(entry)
                findings.fault("type", f"{place}[{number}]", found, "a mapping", f"correct {place}")
        return entries
    value = _plain_value(raw, kind)
    if value is None:
        return fault("type")
    if parameter.choices:
        return value if value in parameter.choices else fault("choice")
    if isinstance(value, int) and not isinstance(value, bool):
        if parameter.minimum is not None and value < parameter.minimum:
            return fault("range")
        if parameter.maximum is not None and value > parameter.maximum:
            return fault("range")
    return value if _has_form(value, parameter, findings, place) else None


def _has_form(value: Any, parameter: Parameter, findings: Findings, place: str) -> bool:
    """Say whether every text in the value has its format; each that has not is a fault."""
    before = len(findings.faults)
    if isinstance(value, str):
        _check_text(value, parameter.format, findings, place)
    elif isinstance(value, list):
        for number, entry in enumerate(value):
            _check_text(entry, parameter.format, findings, f"{place}[{number}]")
    elif isinstance(value, Mapping):
        for key, entry in value.items():
            _check_text(key, parameter.key_format, findings, place_of(place, key))
            _check_text(entry, parameter.format, findings, place_of(place, key))
    return len(findings.faults) == before


def _check_text(text: str, form: Format, findings: Findings, place: str) -> None:
    # Half a surrogate pair is no character: neither UTF-8 nor Kubernetes takes it.
    if form.takes(text) and not re.search("[\ud800-\udfff]", text):
        return
    found = shown(text)
    if form.hidden:
        found = "text in the wrong format"
    elif len(text) > form.longest:
        found = f"{found}, {len(text)} characters"
    longest = f", at most {form.longest} characters" if len(text) > form.longest else ""
    findings.fault(form.code, place, found, form.expected + longest, form.remedy)


def read_known(
    given: Mapping[str, Any], table: Sequence[Parameter], findings: Findings, where: str = ""
) -> dict[str, Any]:
    """Like `read_parameters`, and every key that the table does not know is a fault, with the nearest key that it knows."""
    names = [parameter.name for parameter in table]
    for key in given:
        if key not in names:
            place, like = place_of(where, key), nearest(str(key), names)
            remedy = f"did you mean {like}?" if like else f"remove {place}"
            findings.fault("unknown_key", place, "a key that is not known", "a known parameter", remedy)
    return read_parameters(given, table, findings, where)


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
        if isinstance(raw, str):
            return int(raw) if re.fullmatch(r"\s*-?[0-9]{1,18}\s*", raw) else None
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
    if isinstance(raw, Mapping) and all(isinstance(entry, str) for entry in raw.values()):
        return {str(key): str(entry) for key, entry in raw.items()}
    return raw.strip() if isinstance(raw, str) else None
