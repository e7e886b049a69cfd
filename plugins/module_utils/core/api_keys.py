# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The named API keys of a deployment: what its Secret holds, and what it holds after a change.

Each key is an entry of the Secret under its name. The former value of a rotated key is the entry `<name>.until-<seconds>`, which the
guard in the pod (roles/raycluster/files/engine_keys.py) lets expire at that time (Unix epoch).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from .fault import Fault, Refused

# The key that deploy makes, and that our own requests have.
DEFAULT = "default"
# The entry that says which change this is: the guard logs it once the change is in force.
REVISION = ".revision"
_FORMER = re.compile(r"(?P<name>.+)\.until-(?P<seconds>\d{1,15})")
# What a header can carry: visible ASCII.
_VALUE = re.compile(r"[\x21-\x7e]{1,4096}")


def current(data: Mapping[str, str]) -> dict[str, str]:
    """Return the keys in a Secret's `data` by name, `default` first; what no header can carry is none."""
    keys = {
        name: value.strip() for name, value in data.items() if not (name.startswith(".") or _FORMER.fullmatch(name))
    }
    return {name: keys[name] for name in sorted(keys, key=lambda name: (name != DEFAULT, name)) if _usable(keys[name])}


def former(data: Mapping[str, str], now: float) -> dict[str, int]:
    """Return until when (Unix epoch) the former value of each rotated key is valid, of those that are."""
    found: dict[str, int] = {}
    for entry in data:
        match = _FORMER.fullmatch(entry)
        if match and int(match["seconds"]) > now:
            found[match["name"]] = max(int(match["seconds"]), found.get(match["name"], 0))
    return found


def first(data: Mapping[str, str]) -> tuple[str, str] | None:
    """Return name and value of the key that our own requests have; None where there is none."""
    return next(iter(current(data).items()), None)


def added(data: Mapping[str, str], name: str, value: str, now: float) -> dict[str, str]:
    """Return the data with a new key `name` of that value; Refused where there is one."""
    if name in current(data):
        raise _refused("key_exists", f"a key named {name}", "a new name", "choose another, or rotate this one")
    return {**_without_expired(data, now), name: value}


def rotated(data: Mapping[str, str], name: str, value: str, overlap: float, now: float) -> dict[str, str]:
    """Return the data with `value` for key `name`; its value of before is valid for `overlap` seconds more."""
    before = _existing(data, name)
    left = {**_without(_without_expired(data, now), name), name: value}
    if overlap > 0:
        left[f"{name}.until-{int(now + overlap)}"] = before
    return left


def removed(data: Mapping[str, str], name: str, now: float) -> dict[str, str]:
    """Return the data without key `name` and its former values; Refused for the last one."""
    _existing(data, name)
    left = _without(_without_expired(data, now), name)
    if not current(left):
        raise _refused(
            "key_last", f"{name}, the only key", "another one that stays", "add one first, or rotate this one"
        )
    return left


def _existing(data: Mapping[str, str], name: str) -> str:
    keys = current(data)
    if name not in keys:
        raise _refused("key_missing", f"no key named {name}", f"one of {', '.join(keys)}", "correct the name")
    return keys[name]


def _without(data: Mapping[str, str], name: str) -> dict[str, str]:
    def belongs(entry: str) -> bool:
        match = _FORMER.fullmatch(entry)
        return entry == name or bool(match and match["name"] == name)

    return {entry: value for entry, value in data.items() if not belongs(entry)}


def _without_expired(data: Mapping[str, str], now: float) -> dict[str, str]:
    def expired(entry: str) -> bool:
        match = _FORMER.fullmatch(entry)
        return bool(match and int(match["seconds"]) <= now)

    return {entry: value for entry, value in data.items() if not expired(entry)}


def _usable(value: str) -> bool:
    return bool(_VALUE.fullmatch(value))


def _refused(code: str, found: str, expected: str, remedy: str) -> Refused:
    return Refused([Fault(code, "key_name", found, expected, remedy)])
