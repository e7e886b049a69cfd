# SPDX-License-Identifier: GPL-3.0-or-later
"""Which part may import which, what the core may do, and how many modules a folder may have."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools.setup import REPOSITORY

PLUGINS = REPOSITORY / "plugins"
ROOT = "ansible_collections.multinode.inference.plugins"
MOST_MODULES = 15

# The rooms of the core from the ground up: each may import itself and those before it.
ROOMS = ("", "catalog", "recipe", "model", "sizing", "plan", "manifests", "health")
# The other parts of plugins/, and what each may import beside itself.
UTILS = ("module_utils", "module_utils/core", "module_utils/oci", "module_utils/kube", "module_utils/sources")
CONTROLLER = (*UTILS, "plugin_utils")
PARTS: dict[str, tuple[str, ...]] = {
    "module_utils": ("module_utils/core",),
    "module_utils/core": (),
    "module_utils/oci": ("module_utils", "module_utils/core"),
    "module_utils/kube": ("module_utils", "module_utils/core"),
    # A bucket is read with OCI's sign-in.
    "module_utils/sources": ("module_utils", "module_utils/core", "module_utils/oci"),
    "modules": UTILS,
    "plugin_utils": CONTROLLER,
    "action": CONTROLLER,
    "inventory": CONTROLLER,
    "doc_fragments": (),
}
LIBRARIES = {"oci": "module_utils/oci", "kubernetes": "module_utils/kube"}
# What computes and reads nothing of the world around it.
PURE = {
    "__future__",
    "base64",
    "bisect",
    "collections",
    "copy",
    "dataclasses",
    "datetime",
    "decimal",
    "difflib",
    "enum",
    "fractions",
    "functools",
    "hashlib",
    "html",
    "ipaddress",
    "itertools",
    "json",
    "math",
    "operator",
    "re",
    "reprlib",
    "shlex",
    "string",
    "textwrap",
    "types",
    "typing",
    "unicodedata",
    "urllib.parse",
}
IMPURE_CALLS = {"open", "print", "input", "exec", "eval", "__import__", "now", "utcnow", "today"}


def sources(folder: str) -> list[Path]:
    return sorted(path for path in (PLUGINS / folder).rglob("*.py") if path.stat().st_size)


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Each import of a file: its line, and the module's full name; a name imported from a package counts as the module."""
    package = [*ROOT.split("."), *path.relative_to(PLUGINS).parent.parts]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            folder = PLUGINS.joinpath(*module.split(".")[len(ROOT.split(".")) :]) if module.startswith(ROOT) else None
            if folder is not None and folder.is_dir():
                yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, module


def own(module: str) -> list[str] | None:
    """The path below plugins/ of a module of this collection, None for another's."""
    return module.removeprefix(f"{ROOT}.").split(".") if module.startswith(f"{ROOT}.") else None


def part_of(names: list[str]) -> str:
    """The part of plugins/ that a path lies in."""
    folder = "/".join(names[:2])
    return folder if folder in PARTS else names[0]


def room_of(names: list[str]) -> str:
    """The room of the core that a path lies in; "" for the ground."""
    return names[2] if names[2] in ROOMS and len(names) > 3 else ""


def line(path: Path, number: int, module: str) -> str:
    return f"{path.relative_to(REPOSITORY)}:{number}: {module}"


def test_the_core_is_made_of_the_rooms_that_are_named() -> None:
    core = PLUGINS / "module_utils" / "core"
    assert {path.name for path in core.iterdir() if any(path.glob("*.py"))} == set(ROOMS) - {""}


def test_rooms_of_the_core_import_those_before_them() -> None:
    wrong = []
    for path in sources("module_utils/core"):
        room = ROOMS.index(room_of(list(path.relative_to(PLUGINS).parts)))
        for number, module in imports(path):
            names = own(module)
            if names and names[:2] == ["module_utils", "core"] and ROOMS.index(room_of(names)) > room:
                wrong.append(line(path, number, module))
    assert wrong == []


def test_parts_import_those_before_them() -> None:
    wrong = []
    for path in sources("."):
        part = part_of(list(path.relative_to(PLUGINS).parts))
        for number, module in imports(path):
            names = own(module)
            if names and part_of(names) not in (part, *PARTS[part]):
                wrong.append(line(path, number, module))
    assert wrong == []


def test_the_core_computes_and_does_nothing_else() -> None:
    wrong = []
    for path in sources("module_utils/core"):
        wrong += [
            line(path, number, module)
            for number, module in imports(path)
            if own(module) is None and module not in PURE and module.partition(".")[0] not in PURE
        ]
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = node.func
                name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
                wrong += [line(path, node.lineno, name)] if name in IMPURE_CALLS else []
    assert wrong == []


@pytest.mark.parametrize(("library", "home"), LIBRARIES.items())
def test_each_library_is_imported_in_one_place(library: str, home: str) -> None:
    wrong = [
        line(path, number, module)
        for path in sources("module_utils")
        for number, module in imports(path)
        if module.partition(".")[0] == library and part_of(list(path.relative_to(PLUGINS).parts)) != home
    ]
    assert wrong == []


def test_the_collection_knows_no_rig() -> None:
    files = [*sources("."), *(REPOSITORY / "roles").rglob("*.py")]
    wrong = [
        line(path, node.lineno, name)
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [entry.name for entry in node.names])
        if name.partition(".")[0] in ("rig", "tests", "benchmarks")
    ]
    for folder in ("plugins", "roles", "playbooks"):
        for path in (REPOSITORY / folder).rglob("*"):
            if path.suffix in (".py", ".yml", ".j2") and path.is_file() and "RIG_" in path.read_text():
                wrong.append(f"{path.relative_to(REPOSITORY)}: RIG_")
    assert wrong == []


def test_no_folder_has_too_many_modules() -> None:
    folders = Counter(
        path.parent.relative_to(REPOSITORY)
        for folder in ("module_utils", "plugin_utils")
        for path in (PLUGINS / folder).rglob("*.py")
        if path.name != "__init__.py"
    )
    assert {str(folder): count for folder, count in folders.items() if count > MOST_MODULES} == {}
