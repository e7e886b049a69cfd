# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What differs between two values, in words: each part by its name, from what to what. It imports little: modules use it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypedDict

from ...names import without_none
from ...redaction import MASK, Redaction, names_a_secret
from ...text import escaped

# A former value that the deployment's record does not have.
NOT_RECORDED: Any = object()
LONGEST = 72
_ABSENT = "(not given)"
_HIDDEN = "(not shown)"
_ANOTHER = "(another value, or another order)"
_DEFAULT = "(vLLM's default)"
# Options whose absence means something more exact than vLLM's default.
_WITHOUT = {"--max-model-len": "(model's own)", "--tokenizer": "(model's own)"}
# An option of a command line, which has no need of the field's name in front.
_OPTION = re.compile(r"(?:^|\.)(--?[A-Za-z].*)$")
_VARIABLES = "engine.env"
# By these an entry of a list is the same one, whatever its place.
_IDENTITIES = ("name", "key", "groupName", "mountPath", "containerPort", "port", "availability_domain")
_NAMES = {
    "node_pool.node_shape": "node shape",
    "nodes.shape": "node shape",
    "nodes.boot_volume_gb": "boot volume (GB)",
    "node_pool.node_source_details.boot_volume_size_in_gbs": "boot volume (GB)",
    "node_pool.node_source_details.image_id": "node image",
    "node_pool.node_config_details.size": "number of nodes",
    "nodes.count": "number of nodes",
    "node_pool.kubernetes_version": "Kubernetes version of the nodes",
    "node_pool.node_metadata.user_data": "cloud-init of the nodes",
}
# Long texts without meaning to a reader.
_OPAQUE = re.compile(r"(^|\.)user_data$|\.(md5|sha256)$")


class Part(TypedDict):
    """What differs inside a field, in words: an option of vLLM, a variable, a path."""

    name: str
    was: str
    now: str


def differences(field: str, was: Any, now: Any) -> list[Part]:
    """Return each part of the field that is not as it was, in words; [] where nothing differs.

    was  JSON data, NOT_RECORDED where nobody kept it
    """
    now = masked(field, now)
    if was is NOT_RECORDED:
        return [{"name": _name(field), "was": "(not recorded)", "now": _words(field, now)}]
    was = masked(field, was)
    before, after = dict(_leaves(field, without_none(was))), dict(_leaves(field, without_none(now)))
    return [
        _part(name, before.get(name), after.get(name))
        for name in [*after, *(name for name in before if name not in after)]
        if not _same(before.get(name), after.get(name))
    ]


def changed_unseen(field: str) -> list[Part]:
    """Return the part of a field that differs in nothing that is shown: a secret, or the order of a list."""
    return [{"name": _name(field), "was": _HIDDEN, "now": _ANOTHER}]


def line(part: Part) -> str:
    """Return the part as one line: `--max-model-len: (model's own) -> 1024`."""
    return f"{part['name']}: {part['was']} -> {part['now']}"


def masked(field: str, value: Any) -> Any:
    """Return the field's value with *** in place of secrets: what has the form of one, and variables that are named like one."""
    found = Redaction().data(value) if isinstance(value, (str, list, tuple, Mapping)) else value
    if field == _VARIABLES and isinstance(found, Mapping):
        return {name: MASK if names_a_secret(str(name)) else inner for name, inner in found.items()}
    return found


def _leaves(field: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a value by their full names; a list of things without names is one part."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(f"{field}.{key}" if field else str(key), inner)
    elif isinstance(value, list) and (identity := _identity(value)):
        for entry in value:
            rest = {key: inner for key, inner in entry.items() if key != identity}
            place = f"{field}[{entry[identity]}]"
            # An entry that is its name alone is there or is not.
            yield from _leaves(place, rest) if rest else [(place, "present")]
    elif value not in (None, [], {}):
        yield field, value


def _identity(entries: list[Any]) -> str | None:
    """Return the key that tells the entries of a list from one another, None where there is none."""
    if not entries or not all(isinstance(entry, Mapping) for entry in entries):
        return None
    for key in _IDENTITIES:
        found = [entry.get(key) for entry in entries]
        if all(isinstance(one, (str, int)) for one in found) and len(set(map(str, found))) == len(found):
            return key
    return None


def _same(one: Any, other: Any) -> bool:
    """Tell whether two values mean the same: 1 and 1.0 do, 1 and true do not."""
    if isinstance(one, bool) is not isinstance(other, bool):
        return False
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(_same(*pair) for pair in zip(one, other, strict=True))
    return bool(one == other)


def _part(name: str, was: Any, now: Any) -> Part:
    option = _OPTION.search(name)
    absent = _WITHOUT.get(option[1], _DEFAULT) if option else _ABSENT
    before, after = (absent if value is None else _words(name, value) for value in (was, now))
    if before == after == _HIDDEN:
        after = _ANOTHER
    elif before == after:
        before, after = _around_difference(_text(was), _text(now))
    return {"name": _name(name), "was": before, "now": after}


def _name(name: str) -> str:
    option = _OPTION.search(name)
    known = option[1] if option else _NAMES.get(name)
    if known is None and name.startswith(f"{_VARIABLES}."):
        known = f"variable {name[len(_VARIABLES) + 1 :]}"
    return _short(escaped(known or name))


def _words(name: str, value: Any) -> str:
    if _OPAQUE.search(name):
        return _HIDDEN
    text = _text(value)
    return f"{len(value)} entries" if isinstance(value, (list, Mapping)) and len(text) > LONGEST else _short(text)


def _text(value: Any) -> str:
    """Return a value on one line, without what a terminal would act on."""
    if isinstance(value, str):
        return escaped(value) if value.strip() else json.dumps(value)
    return escaped(json.dumps(value, ensure_ascii=False, sort_keys=True))


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 24]}...{text[-20:]}"


def _around_difference(was: str, now: str) -> tuple[str, str]:
    """Return the places of two long texts where they begin to differ."""
    first = next((place for place, pair in enumerate(zip(was, now, strict=False)) if pair[0] != pair[1]), 0)
    start = max(0, first - 16)
    before, after = (
        ("..." if start else "")
        + text[start : start + LONGEST - 6]
        + ("..." if len(text) > start + LONGEST - 6 else "")
        for text in (was, now)
    )
    return before, after
