# SPDX-License-Identifier: GPL-3.0-or-later
"""Python source as syntax trees: modules, names followed through imports, classes with their bases.

Everything is read as text. What cannot be followed is None, and so unknown in the tables.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

# The images are for NVIDIA's GPUs: what a module imports for another platform is not what is served.
_OTHER_PLATFORMS = ("is_rocm", "is_xpu", "is_cpu", "is_tpu", "is_hpu")


@dataclass(frozen=True)
class Class:
    """A class, and the module it stands in."""

    module: str
    node: ast.ClassDef = field(hash=False, compare=False)
    name: str = ""


@dataclass(frozen=True)
class Elsewhere:
    """A name of another package (torch, transformers): no interface of vLLM."""

    name: str


class Source:
    """The package `vllm` in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._trees: dict[str, ast.Module | None] = {}
        self._names: dict[str, dict[str, list[ast.AST]]] = {}

    def tree(self, module: str) -> ast.Module | None:
        """The tree of `vllm.a.b`; None where there is no such module."""
        if module not in self._trees:
            path = self.folder.joinpath(*module.split(".")[1:])
            file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            self._trees[module] = ast.parse(file.read_text(encoding="utf-8")) if file.is_file() else None
        return self._trees[module]

    def is_package(self, module: str) -> bool:
        """Whether the module is a folder."""
        return self.folder.joinpath(*module.split(".")[1:]).is_dir()

    def names(self, module: str) -> dict[str, list[ast.AST]]:
        """What each name of a module is bound to, by the statements that do so on NVIDIA's GPUs."""
        if module not in self._names:
            found: dict[str, list[ast.AST]] = {}
            tree = self.tree(module)
            for statement in _statements(tree.body if tree else []):
                if isinstance(statement, (ast.ClassDef, ast.FunctionDef)):
                    found.setdefault(statement.name, []).append(statement)
                elif isinstance(statement, (ast.Import, ast.ImportFrom)):
                    for alias in statement.names:
                        found.setdefault(alias.asname or alias.name, []).append(statement)
                elif isinstance(statement, ast.Assign):
                    for target in statement.targets:
                        if isinstance(target, ast.Name):
                            found.setdefault(target.id, []).append(statement)
                elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                    found.setdefault(statement.target.id, []).append(statement)
            self._names[module] = found
        return self._names[module]

    def find(self, module: str, name: str, depth: int = 0) -> Class | ast.AST | Elsewhere | None:
        """What `name` of `module` is: a class, the value of an assignment, a name of another package, or None."""
        if depth > 20:
            return None
        bound = self.names(module).get(name)
        if not bound:
            if self.tree(f"{module}.{name}") is not None:
                return None
            for star in _stars(self.tree(module)):
                found = self.find(self.absolute(module, star), name, depth + 1)
                if found is not None:
                    return found
            return None
        statement = bound[-1]
        if isinstance(statement, ast.ClassDef):
            return Class(module, statement, statement.name)
        if isinstance(statement, ast.ImportFrom):
            origin = self.absolute(module, statement)
            original = next(alias.name for alias in statement.names if (alias.asname or alias.name) == name)
            if origin.split(".")[0] != "vllm":
                return Elsewhere(f"{origin}.{original}")
            return self.find(origin, original, depth + 1)
        if isinstance(statement, ast.Import):
            return Elsewhere(name)
        if isinstance(statement, (ast.Assign, ast.AnnAssign)):
            value = statement.value
            if isinstance(value, ast.Name) and value.id != name:
                return self.find(module, value.id, depth + 1)
            return value
        return statement

    def bases(self, cls: Class) -> list[Class | Elsewhere | None]:
        """The bases of a class, in order; None for one that cannot be followed."""
        found: list[Class | Elsewhere | None] = []
        for base in cls.node.bases:
            expression = base.value if isinstance(base, ast.Subscript) else base
            if isinstance(expression, ast.Name):
                if expression.id in _BUILT_IN:
                    continue
                target = self.find(cls.module, expression.id)
                found.append(target if isinstance(target, (Class, Elsewhere)) else None)
            elif isinstance(expression, ast.Attribute):
                found.append(self._attribute(cls.module, expression))
            else:
                found.append(None)
        return found

    def line(self, cls: Class) -> list[Class | Elsewhere | None]:
        """The class and all it inherits from, nearest first (each once, where Python would ask it last)."""
        found: list[Class | Elsewhere | None] = []

        def visit(current: Class | Elsewhere | None) -> None:
            found.append(current)
            if isinstance(current, Class):
                for base in self.bases(current):
                    visit(base)

        visit(cls)
        last = {entry: number for number, entry in enumerate(found)}
        return [entry for number, entry in enumerate(found) if last[entry] == number]

    def _attribute(self, module: str, expression: ast.Attribute) -> Class | Elsewhere | None:
        """What `a.b.Class` is: of another package where `a` is one, else the class of that module."""
        first = expression
        while isinstance(first.value, ast.Attribute):
            first = first.value
        if not isinstance(first.value, ast.Name):
            return None
        bound = self.names(module).get(first.value.id) or []
        for statement in bound:
            if isinstance(statement, ast.ImportFrom):
                origin = self.absolute(module, statement)
                if origin.split(".")[0] != "vllm":
                    return Elsewhere(ast.unparse(expression))
                target = self.find(f"{origin}.{first.value.id}", expression.attr)
                return target if isinstance(target, (Class, Elsewhere)) else None
            if isinstance(statement, ast.Import) and not any(item.name.startswith("vllm") for item in statement.names):
                return Elsewhere(ast.unparse(expression))
        return None

    def absolute(self, module: str, statement: ast.ImportFrom) -> str:
        """The full name of the module that a `from ... import` names."""
        if not statement.level:
            return statement.module or ""
        parts = module.split(".") if self.is_package(module) else module.split(".")[:-1]
        parts = parts[: len(parts) - statement.level + 1]
        return ".".join([*parts, statement.module] if statement.module else parts)


_BUILT_IN = {"object", "str", "int", "dict", "list", "tuple", "set", "Exception", "Enum"}


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module that run on NVIDIA's GPUs, those under `if` and `try` too."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.If):
            if any(name in ast.unparse(statement.test) for name in _OTHER_PLATFORMS):
                yield from _statements(statement.orelse)
            else:
                yield from _statements(statement.orelse)
                yield from _statements(statement.body)
        elif isinstance(statement, ast.Try):
            for part in (*(handler.body for handler in statement.handlers), statement.body):
                yield from _statements(part)


def _stars(tree: ast.Module | None) -> Iterator[ast.ImportFrom]:
    for statement in _statements(tree.body if tree else []):
        if isinstance(statement, ast.ImportFrom) and statement.names[0].name == "*":
            yield statement


def strings(node: ast.AST | None) -> list[str]:
    """The texts of a literal list, tuple, set or Literal[...]."""
    if isinstance(node, ast.Subscript):
        node = node.slice
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    elements = getattr(node, "elts", [])
    return [item.value for item in elements if isinstance(item, ast.Constant) and isinstance(item.value, str)]
