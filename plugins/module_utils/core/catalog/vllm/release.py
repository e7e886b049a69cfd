# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What one vLLM knows: classes, quantization, options, parsers, variables and known defects.

    known = release("0.26.0")
    known.supports_pipeline("LlamaForCausalLM")       True, False, or None: not known
    known.has_class("NanbeigeForCausalLM")            False; known.first_with(...) says "0.31.0"
    known.least_capability("modelopt")                (8, 9)
    known.at_least("0.29.0")                          False: for a rule that came with a version

A version between two tables takes the stricter of both: a name counts where both have it, a capability is the higher
one. It is never `exact`, and neither is one outside of the tables, which is judged by the nearest. Where the version is
not known (None), a name counts where any table has it, and answers that differ are None.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from .capabilities import CAPABILITIES
from .classes import CLASSES, DRAFTS, EAGLE3, REMOVED
from .defects import DEFECTS, EXECUTOR_VARIABLE, Defect
from .names import (
    CONFIGS,
    DEPRECATED_METHODS,
    REASONING_PARSERS,
    SPECULATION_FIELDS,
    SPECULATION_METHODS,
    TOOL_PARSERS,
    VARIABLES,
)
from .options import CHOICES, OPTIONS
from .versions import VERSIONS

# The oldest and the newest vLLM that is planned for; the default image for each GPU lies between them.
SUPPORTED = (VERSIONS[0], VERSIONS[-1])

_PIPELINE = {"p": True, "n": False, "u": None}
_Version = tuple[int, ...]


@dataclass(frozen=True)
class Option:
    """One option of `vllm serve`.

    name       its long spelling, with hyphens: "--max-num-seqs"
    kind       flag: no value. switch: no value, and --no-NAME beside it. text, int, size (1k, 2M), float, json, value
               (text or nothing). A trailing + takes several values.
    spellings  every other name: "-tp"
    choices    the only values; empty where there are others
    """

    name: str
    kind: str
    spellings: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Release:
    """One version of vLLM, as the tables have it.

    version  as it was asked for; None: not known
    exact    a table is of this very version: its answers are certain
    tables   the versions whose tables are asked
    """

    version: str | None
    exact: bool
    tables: tuple[str, ...]

    def at_least(self, version: str) -> bool | None:
        """Whether this vLLM is that version or newer; None where it is not known."""
        return None if self.version is None else parsed(self.version) >= parsed(version)

    @property
    def classes(self) -> Mapping[str, bool | None]:
        """The registry's classes, and whether they take part in pipeline parallelism."""
        return _classes(self.tables, self.version is None, False)

    @property
    def drafts(self) -> Mapping[str, bool | None]:
        """The same of the classes that draft for another model."""
        return _classes(self.tables, self.version is None, True)

    def has_class(self, name: str) -> bool | None:
        """Whether the registry has the class; None where the version is not known."""
        return None if self.version is None else name in self.classes

    def supports_pipeline(self, name: str) -> bool | None:
        """Whether vLLM divides the class into stages; None where it is not known, or the registry has no such class."""
        return self.classes.get(name)

    def has_quantization(self, method: str) -> bool | None:
        """Whether vLLM has the quantization method; None where the version is not known."""
        if self.version is None:
            return None
        return all(_capability(method, table) != "." for table in self.tables)

    def deprecates(self, method: str) -> bool:
        """Whether vLLM takes the quantization method only with --allow-deprecated-quantization."""
        return self.version is not None and any(
            method in _listed("deprecated", (table,), False) for table in self.tables
        )

    def least_capability(self, method: str, *schemes: str) -> tuple[int, int] | None:
        """The least compute capability for a method; None where it is not known, or the version lacks it.

        schemes  the scheme's names in vLLM (compressed_tensors/schemes: "w8a8_fp8"), where the method tells schemes
                 apart. vLLM takes the next one where a GPU is too old for the first: the least of them counts.
        """
        found = []
        for table in self.tables:
            names = [f"{method}/{scheme}" for scheme in schemes] or [method]
            values = [int(value) for name in names if (value := _capability(name, table)) not in (".", "?")]
            if values:
                found.append(max(min(values), int(_number(_capability(method, table)))))
        if not found or (self.version is None and len(set(found)) > 1):
            return None
        return divmod(max(found), 10)

    @property
    def options(self) -> Mapping[str, Option]:
        """The options of `vllm serve`, by their long name."""
        return _options(self.tables, self.version is None)

    def option(self, name: str) -> Option | None:
        """The option of a long or short name, "--no-NAME" of a switch too; None where this vLLM has none."""
        return self.options.get(_spellings(self.tables, self.version is None).get(name, ""))

    def options_beginning(self, name: str) -> list[Option]:
        """The options that argparse takes an abbreviated long name for: more than one is an error there."""
        spellings = _spellings(self.tables, self.version is None)
        names = {full for spelling, full in spellings.items() if spelling.startswith(name) and name.startswith("--")}
        return [self.options[full] for full in sorted(names)]

    @property
    def tool_parsers(self) -> frozenset[str]:
        """What --tool-call-parser takes."""
        return _listed("tools", self.tables, self.version is None)

    @property
    def reasoning_parsers(self) -> frozenset[str]:
        """What --reasoning-parser takes."""
        return _listed("reasoning", self.tables, self.version is None)

    @property
    def configs(self) -> frozenset[str]:
        """Model types that vLLM has a configuration class of its own for."""
        return _listed("configs", self.tables, self.version is None)

    @property
    def speculation_methods(self) -> frozenset[str]:
        """What `method` in --speculative-config may be."""
        return _listed("methods", self.tables, self.version is None)

    @property
    def speculation_fields(self) -> frozenset[str]:
        """What --speculative-config may have; vLLM refuses every other key."""
        return _listed("fields", self.tables, self.version is None)

    def takes_eagle3(self, name: str, stages: int) -> bool | None:
        """Whether EAGLE3 drafts for the class over so many stages; None where it is not known."""
        row = _rows(EAGLE3).get(name)
        if self.version is None or not self.has_class(name):
            return None
        letters = set(_letters(row, self.tables)) if row else {"."}
        if "." in letters or (stages > 1 and "n" in letters):
            return False
        return None if "u" in letters else True

    @property
    def variables(self) -> frozenset[str]:
        """Environment variables of vLLM: names that begin with VLLM_."""
        return frozenset(f"VLLM_{name}" for name in _listed("variables", self.tables, self.version is None))

    @property
    def defects(self) -> tuple[Defect, ...]:
        """Known defects of this vLLM; empty where the version is not known."""
        if self.version is None:
            return ()
        asked = {parsed(self.version), *map(parsed, self.tables)}
        return tuple(
            defect
            for defect in DEFECTS
            if any(parsed(defect.since) <= version < _end(defect.until) for version in asked)
        )

    @property
    def new_executor(self) -> bool | None:
        """Whether this vLLM can run RayExecutorV2; None where the version is not known."""
        if self.version is None:
            return None
        return EXECUTOR_VARIABLE in self.variables or bool(self.at_least("0.33.0"))


def release(version: str | None) -> Release:
    """Return what is known of vLLM `version` ("0.26.0"; None: nothing tells which).

    A build's own part (+cu130) and a post release count as the version they are of.
    """
    if version is None or not re.match(r"v?\d+\.\d+", version):
        return Release(None, False, VERSIONS)
    number = parsed(version)
    for table in VERSIONS:
        if parsed(table) == number:
            return Release(version, True, (table,))
    older = [table for table in VERSIONS if parsed(table) < number]
    newer = [table for table in VERSIONS if parsed(table) > number]
    return Release(version, False, (*older[-1:], *newer[:1]))


def is_supported(version: str) -> bool:
    """Whether the version lies in the range that is planned for."""
    return parsed(SUPPORTED[0]) <= parsed(version) <= parsed(SUPPORTED[1])


def versions_with_class(name: str) -> tuple[str, ...]:
    """The versions whose registry has the class, oldest first."""
    row = _rows(CLASSES).get(name, "." * len(VERSIONS))
    return tuple(version for version, letter in zip(VERSIONS, row, strict=True) if letter != ".")


def last_with_class(name: str) -> str | None:
    """The last version that had a class which is gone, as vLLM itself says; None where it is not gone."""
    return None if name in _rows(CLASSES) and _rows(CLASSES)[name][-1] != "." else _removed().get(name)


def versions_with_option(name: str) -> tuple[str, ...]:
    """The versions that have the option of that long name ("--max-num-seqs")."""
    return tuple(version for version in VERSIONS if name in _options((version,), False))


def versions_with_variable(name: str) -> tuple[str, ...]:
    """The versions that know the variable."""
    return tuple(version for version in VERSIONS if name in release(version).variables)


def parsed(version: str) -> _Version:
    """The version as numbers, to compare by: "0.26.0" is (0, 26, 0, 0), a candidate of it comes before it."""
    match = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?(?:\.\d+)*(\.?(?:a|b|rc|dev)\d*)?", version)
    if match is None:
        raise ValueError(f"not a version: {version}")
    return (int(match[1]), int(match[2]), int(match[3] or 0), -1 if match[4] else 0)


def _end(until: str) -> _Version:
    return parsed(until) if until else (1 << 30,)


def _number(value: str) -> str:
    return value if value not in (".", "?") else "0"


@cache
def _removed() -> dict[str, str]:
    return {name: version for version, names in REMOVED.items() for name in names.split()}


_ROWS: dict[int, dict[str, str]] = {}


def _rows(table: Mapping[str, str]) -> dict[str, str]:
    """A table by name: name -> a letter for each version. A name may stand in several rows, one for each form."""
    if id(table) not in _ROWS:
        _ROWS[id(table)] = {name: pattern for pattern, names in table.items() for name in names.split()}
    return _ROWS[id(table)]


def _letters(row: str, tables: Iterable[str]) -> list[str]:
    return [row[VERSIONS.index(table)] for table in tables]


@cache
def _classes(tables: tuple[str, ...], any_of: bool, drafts: bool) -> dict[str, bool | None]:
    found: dict[str, bool | None] = {}
    for name, row in _rows(DRAFTS if drafts else CLASSES).items():
        letters = _letters(row, tables)
        present = [letter for letter in letters if letter != "."]
        if present and (any_of or len(present) == len(letters)):
            answers = {_PIPELINE[letter] for letter in present}
            # Of two tables the stricter counts; of a version that is not known only what all say.
            strict = False if False in answers else None
            found[name] = answers.pop() if len(answers) == 1 else None if any_of else strict
    return found


_NAMES = {
    "tools": TOOL_PARSERS,
    "reasoning": REASONING_PARSERS,
    "variables": VARIABLES,
    "deprecated": DEPRECATED_METHODS,
    "configs": CONFIGS,
    "methods": SPECULATION_METHODS,
    "fields": SPECULATION_FIELDS,
}


@cache
def _listed(kind: str, tables: tuple[str, ...], any_of: bool) -> frozenset[str]:
    table = _NAMES[kind]
    pick = any if any_of else all
    return frozenset(name for name, row in _rows(table).items() if pick(x != "." for x in _letters(row, tables)))


@cache
def _options(tables: tuple[str, ...], any_of: bool) -> dict[str, Option]:
    """The options of these versions; the kind and the choices are those of the newest."""
    found: list[dict[str, Option]] = []
    for table in tables:
        place = VERSIONS.index(table)
        choices = {
            f"--{name}": tuple(sorted(value for value, row in _rows(rows).items() if row[place] != "."))
            for name, rows in CHOICES.items()
        }
        listed = {}
        for kind, rows in OPTIONS.items():
            for entry, row in _rows(rows).items():
                if row[place] != ".":
                    name, *others = entry.split("|")
                    spellings = tuple(other if other.startswith("-") else f"--{other}" for other in others)
                    listed[f"--{name}"] = Option(f"--{name}", kind, spellings, choices.get(f"--{name}", ()))
        found.append(listed)
    names = set().union(*found) if any_of else set.intersection(*map(set, found))
    merged = {name: option for listed in found for name, option in listed.items()}
    return {name: merged[name] for name in sorted(names)}


@cache
def _spellings(tables: tuple[str, ...], any_of: bool) -> dict[str, str]:
    """Every name that argparse knows, and the option's long name."""
    found = {}
    for name, option in _options(tables, any_of).items():
        for spelling in (name, *option.spellings):
            found[spelling] = name
            if option.kind == "switch" and spelling.startswith("--"):
                found[f"--no-{spelling[2:]}"] = name
    return found


def _capability(name: str, table: str) -> str:
    row = CAPABILITIES.get(name)
    return row.split()[VERSIONS.index(table)] if row else "."
