# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What differs inside a field of the plan or of an object, by the names that a person knows: an option, a variable, a path."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...names import without_none
from ...recipe.vllm_arguments import options
from ...redaction import MASK, Redaction, names_a_secret
from ...text import escaped
from ..types import Part

# A former value that the deployment's record does not have.
NOT_RECORDED: Any = object()
LONGEST = 72
_ABSENT = "(not given)"
_HIDDEN = "(not shown)"
_ANOTHER = "(another value, or another order)"
_DEFAULT = "(vLLM's default)"
# Options whose absence means something more exact than vLLM's default.
_WITHOUT = {"--max-model-len": "(model's own)", "--tokenizer": "(model's own)"}
# Fields, and keys of documents, that hold command lines of vLLM.
_COMMAND_LINES = ("engine.args", "engine.optional")
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


def parts_of(field: str, was: Any, now: Any) -> list[Part]:
    """Return each part of the field that is not as it was, in words; [] where nothing differs.

    was  JSON data, NOT_RECORDED where nobody kept it
    """
    now = masked(field, now)
    if was is NOT_RECORDED:
        whole = dict(_leaves(field, now)) if field in _COMMAND_LINES else now
        return [{"name": _name(field), "was": "(not recorded)", "now": _words(field, whole)}]
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
    if field in _COMMAND_LINES and isinstance(value, Sequence) and not isinstance(value, str):
        yield from _of_options(_flat(value)).items()
    elif isinstance(value, Mapping) and value:
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


def _flat(words: Sequence[Any]) -> list[str]:
    return [str(one) for word in words for one in (word if isinstance(word, (list, tuple)) else (word,))]


def _of_options(words: Sequence[str]) -> dict[str, str]:
    """Return what a command line of vLLM says of each option; one that is given twice has both values."""
    found: dict[str, list[str]] = {}
    for item in options(words):
        name = ".".join((item.name, *item.key))
        secret = names_a_secret(name.lstrip("-").replace("-", "_"))
        value = MASK if secret and item.values else item.value or ("off" if item.off else "on")
        found.setdefault(name, []).append(value)
    return {name: ", ".join(values) for name, values in found.items()}


def _same(one: Any, other: Any) -> bool:
    """Tell whether two values mean the same: 1 and 1.0 do, 1 and true do not."""
    if isinstance(one, bool) is not isinstance(other, bool):
        return False
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(_same(*pair) for pair in zip(one, other, strict=True))
    return bool(one == other)


def _part(name: str, was: Any, now: Any) -> Part:
    absent = _WITHOUT.get(name, _DEFAULT) if name.startswith("-") else _ABSENT
    before, after = (absent if value is None else _words(name, value) for value in (was, now))
    if before == after == _HIDDEN:
        after = _ANOTHER
    elif before == after:
        before, after = _around_difference(_text(was), _text(now))
    return {"name": _name(name), "was": before, "now": after}


def _name(name: str) -> str:
    known = _NAMES.get(name)
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
