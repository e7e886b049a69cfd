# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Further arguments of vLLM, read as its own parser reads them: which may be given, and what they say.

Its parser (vllm/utils/argparse_utils.py) takes underscores for hyphens, the beginning of a name for the name where only
one fits, --no-NAME of a switch, -tp for a long name, and the keys of a JSON value one by one: --NAME.key value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..catalog.vllm.option_effects import DERIVED, NOT_RECKONED, REFUSED, REFUSED_WITH_STAGES
from ..catalog.vllm.release import Option, Release, release, versions_with_option
from ..fault import Findings
from ..text import read_json
from .values import nearest

PLACE = "recipe_container_command_args"
# What vLLM's parser takes for "not given" where an option may be without a value.
_NOTHING = ("", "None")
_SIZES = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([kKmMgGtT])")


@dataclass(frozen=True)
class Given:
    """One option as it was given.

    name    vLLM's long name, or what was written where no option fits
    words   all that was written for it, its name first
    values  what was written for its value: several words for several values
    option  None where this vLLM has no such option, or the name fits several (`fits`)
    off     it was given as --no-NAME
    key     the key in a JSON value: ("method",) for --speculative-config.method
    """

    name: str
    words: tuple[str, ...]
    values: tuple[str, ...] = ()
    option: Option | None = None
    off: bool = False
    key: tuple[str, ...] = ()
    fits: tuple[str, ...] = ()

    @property
    def value(self) -> str:
        """What was written for the value; empty for a switch."""
        return " ".join(self.values)


class Arguments:
    """The further arguments of a recipe, as the parser of one vLLM takes them."""

    def __init__(self, words: Sequence[str], known: Release) -> None:
        self.words = tuple(words)
        self.given = tuple(options(words, known))

    def has(self, name: str) -> bool:
        """Whether the option is given, in whatever spelling."""
        return any(item.name == name for item in self.given)

    def text(self, name: str) -> str | None:
        """The last value of an option; None where it is not given, or as nothing."""
        values = [item.value for item in self.given if item.name == name and not item.key]
        return values[-1] if values and values[-1] not in _NOTHING else None

    def switch(self, name: str) -> bool | None:
        """Whether a switch is on; None where it is not given."""
        states = [not item.off for item in self.given if item.name == name]
        return states[-1] if states else None

    def mapping(self, name: str) -> dict[str, Any]:
        """The value of an option in JSON. Keys that are given one by one replace what is given as a whole."""
        whole: dict[str, Any] = {}
        single: dict[str, Any] = {}
        for item in self.given:
            if item.name == name and item.key:
                _put(single, item.key, item.value)
            elif item.name == name:
                whole = as_mapping(item.value)
        return single or whole


def options(words: Sequence[str], known: Release | None = None) -> list[Given]:
    """Return the options among `words`, by the names of that vLLM, else of any that is known.

    Words in front of the first option have the name "".
    """
    known = known or release(None)
    found: list[Given] = []
    for word in words:
        if word.startswith("-") and not _is_number(word):
            found.append(_named(word, known))
        elif found:
            last = found[-1]
            found[-1] = Given(
                last.name, (*last.words, word), (*last.values, word), last.option, last.off, last.key, last.fits
            )
        else:
            found.append(Given("", (word,)))
    return found


def _named(word: str, known: Release) -> Given:
    name, equals, value = word.partition("=")
    values = (value,) if equals else ()
    if name.startswith("-O"):
        # -O3 and -O=3 (argparse_utils.py); the level alone may follow as a word.
        return Given(
            "--optimization-level", (word,), (name[2:],) if name[2:] else values, known.option("--optimization-level")
        )
    name, dot, rest = name.partition(".")
    key = tuple(rest.split(".")) if dot else ()
    if name.startswith("--"):
        name = "--" + name[2:].replace("_", "-")
    elif len(name) > 2 and known.option(name) is None and known.option(name[:2]) is not None:
        # -n2: argparse takes the rest for the value of an option of one letter.
        name, values = name[:2], (name[2:],)
    option, fits = known.option(name), [] if known.option(name) else known.options_beginning(name)
    if option is None and len(fits) == 1:
        option = fits[0]
    if option is None:
        return Given(name, (word,), values, key=key, fits=tuple(item.name for item in fits))
    off = name.startswith("--no-") and option.kind == "switch" and not option.name.startswith(name)
    return Given(option.name, (word,), values, option, off, key)


def check_derived(words: Sequence[str], findings: Findings) -> None:
    """Refuse what would contradict the recipe, whatever vLLM the image holds. Values are never shown: one may be a key."""
    for item in options(words):
        names = [name for name in (item.name, *item.fits) if name.removeprefix("--") in DERIVED]
        if not item.name:
            expected = "options, such as --max-num-seqs 64"
            findings.fault("argument", PLACE, "a word without an option", expected, "correct it")
        elif names:
            written = item.words[0].partition("=")[0]
            shown = item.name if item.option else written
            reason = DERIVED[names[0].removeprefix("--")]
            findings.fault("derived_argument", PLACE, shown, "an option that is not derived", f"remove it: {reason}")


def check_options(arguments: Arguments, known: Release, stages: int, findings: Findings) -> None:
    """Refuse what this vLLM's parser or this product would refuse; warn of what the plan does not count.

    Derived options are left to check_derived.
    """
    for item in arguments.given:
        name = item.name.removeprefix("--")
        if item.option is None:
            if item.name and not any(fit.removeprefix("--") in DERIVED for fit in (item.name, *item.fits)):
                _refuse_unknown(item, known, findings)
            continue
        if name in DERIVED:
            continue
        problem = _problem(item, item.option, known)
        if problem:
            findings.fault("argument", f"{PLACE} {item.name}", "a value that vLLM refuses", problem, "correct it")
            continue
        reason, allowed = REFUSED.get(name, ("", ()))
        if reason and item.value not in allowed and not item.off:
            findings.fault("argument_refused", PLACE, item.name, "a supported option", f"remove it: {reason}")
        elif stages > 1 and name in REFUSED_WITH_STAGES and not item.off:
            findings.fault(
                "argument_refused",
                PLACE,
                f"{item.name} with {stages} stages",
                "an option that works with pipeline parallelism",
                f"remove it, or use one node: {REFUSED_WITH_STAGES[name]}",
            )
        elif name in NOT_RECKONED:
            findings.warn("argument_not_reckoned", PLACE, f"{item.name}: {NOT_RECKONED[name]}")


def _refuse_unknown(item: Given, known: Release, findings: Findings) -> None:
    written = item.words[0].partition("=")[0].partition(".")[0]
    if item.fits:
        findings.fault(
            "argument_ambiguous",
            PLACE,
            f"{written}, which begins {len(item.fits)} options",
            "one of " + ", ".join(item.fits),
            "write the name in full",
        )
        return
    if known.version is None:
        # No version that is known has it: only the image can say.
        findings.warn(
            "argument_unknown", PLACE, f"{written}, which no known vLLM has", "", "vLLM ends at its start then"
        )
        return
    has = versions_with_option(item.name)
    like = nearest(item.name, known.options)
    if has:
        remedy = f"remove it, or use an image with {_span(has)}"
    else:
        remedy = f"did you mean {like}?" if like else "remove it"
    findings.fault(
        "argument_unknown",
        PLACE,
        f"{written}, which vLLM {known.version} does not have",
        "an option that it has",
        remedy,
    )


def _span(versions: Sequence[str]) -> str:
    return f"vLLM {versions[0]}" if len(versions) == 1 else f"vLLM {versions[0]} to {versions[-1]}"


def _problem(item: Given, option: Option, known: Release) -> str:
    """What vLLM's parser would want in place of the value; "" where it takes it."""
    if option.kind == "flag" or (option.kind == "switch" and not item.key):
        return "no value" if item.values else ""
    if option.kind == "value":
        return "one value or none" if len(item.values) > 1 else ""
    if not item.values:
        return "a value"
    if len(item.values) > 1 and not option.kind.endswith("+"):
        return "one value; JSON and texts with spaces are one element of the list"
    if item.key:
        return ""
    convert = _READERS.get(option.kind.rstrip("+"))
    values = [value for value in item.values if value not in _NOTHING]
    if option.name == "--quantization" and any(known.has_quantization(_method(value)) is False for value in values):
        return f"a method that vLLM {known.version} has"
    if option.name.endswith("-config") and option.kind == "json" and not all(map(_is_object, values)):
        return "a JSON object"
    if convert and not all(_converts(convert, value) for value in values):
        return _EXPECTED[option.kind.rstrip("+")]
    # The choices of a version between two tables are those of one of them.
    if option.choices and known.exact and not option.kind.endswith("+") and set(values) - set(option.choices):
        return "one of " + ", ".join(option.choices)
    return ""


def _method(value: str) -> str:
    return value.lower().replace("compressed_tensors", "compressed-tensors")


def _is_object(text: str) -> bool:
    try:
        return isinstance(_json(text), dict)
    except ValueError:
        return False


def _converts(reader: Callable[[str], Any], value: str) -> bool:
    try:
        reader(value)
    except ValueError:
        return False
    return True


def size(text: str) -> int:
    """A number as vLLM takes it for sizes: 8192, 8k (thousands), 8K (of 1024). Raises ValueError for anything else."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        return int(text)
    if match[2].isupper() and "." in match[1]:
        raise ValueError(text)
    try:
        return int(float(match[1]) * _SIZES[match[2]])
    except OverflowError:
        raise ValueError(text) from None


def _json(text: str) -> Any:
    """The value of JSON in which numbers may be written as sizes; raises ValueError where it is none."""
    return read_json(re.sub(r'"(?:[^"\\]|\\.)*"|\b\d+(?:\.\d+)?[kKmMgGtT]\b', _expanded, text))


def _expanded(match: re.Match[str]) -> str:
    return match[0] if match[0].startswith('"') else str(size(match[0]))


_READERS: dict[str, Callable[[str], Any]] = {"int": int, "float": float, "size": size, "json": _json}
_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "size": "a whole number, which may be written as 8k or 8K",
    "json": "JSON",
}


def as_mapping(text: str) -> dict[str, Any]:
    """The mapping that a text of JSON holds; empty where it holds none."""
    try:
        value = _json(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _put(target: dict[str, Any], key: tuple[str, ...], text: str) -> None:
    """Set the value of a nested key, as the parser takes it: JSON where it is some, else a size, else a text."""
    *above, last = key
    for name in above:
        inner = target.setdefault(name, {})
        target = inner if isinstance(inner, dict) else {}
    value: Any
    if last.endswith("+"):
        last, value = last[:-1], text.split(",")
        value = [*target.get(last, ()), *value] if isinstance(target.get(last), list) else value
    else:
        try:
            value = read_json(text)
        except ValueError:
            value = size(text) if _converts(size, text) else text
    target[last] = value


def load_format(recipe: Mapping[str, Any]) -> str:
    """Return in which format vLLM loads the weights: it decides which of the model's files are read."""
    given = recipe["recipe_container_command_args"] or ()
    return next((option.value for option in options(given) if option.name == "--load-format"), "auto").lower()


def merged(derived: Sequence[str], given: Sequence[str]) -> list[str]:
    """Return vLLM's arguments: the `derived` ones, but for those that `given` says otherwise."""
    names = {item.name for item in options(given)}
    kept = [word for item in options(derived) if item.name not in names for word in item.words]
    return [*kept, *given]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
