# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Secret with API keys holds after each change."""

from __future__ import annotations

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core import api_keys
from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Refused

DATA = {"default": "canary-1", "team": "canary-2", "team.until-90": "old", "team.until-200": "older"}


def code(change: object) -> str:
    """The code that a change is refused with."""
    with pytest.raises(Refused) as refused:
        change()  # type: ignore[operator]
    (fault,) = refused.value.faults
    assert not any(value in fault.line() for value in ("canary-1", "canary-2", "older"))
    return fault.code


def test_default_comes_first_and_former_values_are_no_keys() -> None:
    assert list(api_keys.current({"a": "x", **DATA})) == ["default", "a", "team"]
    assert api_keys.first({"a": "x", "b": "y"}) == ("a", "x")
    assert api_keys.first({"api_key": "x\n"}) == ("api_key", "x"), "as older versions named it"
    assert list(api_keys.current({".revision": "1", "a": "x"})) == ["a"]
    assert api_keys.first({"default": " ", "b": "two words", "c": "k\u00e9y"}) is None
    assert api_keys.former(DATA, 100) == {"team": 200} and api_keys.former(DATA, 200) == {}


def test_a_key_is_added_beside_the_others() -> None:
    made = api_keys.added(DATA, "new-1", "new", 100)
    assert made == {"default": "canary-1", "team": "canary-2", "team.until-200": "older", "new-1": "new"}
    assert code(lambda: api_keys.added(DATA, "team", "new", 100)) == "key_exists"


def test_a_rotated_key_has_its_former_value_for_a_while() -> None:
    made = api_keys.rotated(DATA, "default", "new", 600, 100)
    assert made == {"default": "new", "team": "canary-2", "team.until-200": "older", "default.until-700": "canary-1"}
    assert api_keys.rotated(DATA, "team", "new", 0, 100).keys() == {"default", "team"}, "at once, those of before too"
    assert code(lambda: api_keys.rotated(DATA, "other", "new", 0, 0)) == "key_missing"


def test_the_last_key_is_not_removed() -> None:
    left = api_keys.removed(DATA, "team", 100)
    assert left == {"default": "canary-1"}
    assert code(lambda: api_keys.removed(left, "default", 100)) == "key_last"
    assert code(lambda: api_keys.removed(left, "team", 100)) == "key_missing"
