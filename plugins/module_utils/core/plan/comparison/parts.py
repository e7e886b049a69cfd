# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What differs inside a field of the plan or of an object; command lines of vLLM option by option."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...recipe.vllm_arguments import options
from ...redaction import MASK, names_a_secret
from .words import NOT_RECORDED, Part, differences

# Fields, and keys of documents, that hold command lines of vLLM.
_COMMAND_LINES = ("engine.args", "engine.optional")


def parts_of(field: str, was: Any, now: Any) -> list[Part]:
    """Return each part of the field that is not as it was, in words; [] where nothing differs.

    was  JSON data, NOT_RECORDED where nobody kept it
    """
    return differences(field, was if was is NOT_RECORDED else _by_option(field, was), _by_option(field, now))


def _by_option(field: str, value: Any) -> Any:
    """Return the value with the options of its command lines by their names."""
    if isinstance(value, Mapping):
        return {key: _by_option(f"{field}.{key}" if field else str(key), inner) for key, inner in value.items()}
    if field not in _COMMAND_LINES or not isinstance(value, (list, tuple)):
        return value
    return _of_options([str(one) for word in value for one in (word if isinstance(word, (list, tuple)) else (word,))])


def _of_options(words: Sequence[str]) -> dict[str, str]:
    """Return what a command line of vLLM says of each option; one that is given twice has both values."""
    found: dict[str, list[str]] = {}
    for item in options(words):
        name = ".".join((item.name, *item.key))
        secret = names_a_secret(name.lstrip("-").replace("-", "_"))
        value = MASK if secret and item.values else item.value or ("off" if item.off else "on")
        found.setdefault(name, []).append(value)
    return {name: ", ".join(values) for name, values in found.items()}
