# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of `vllm serve`: what its argument parser is made of (engine/arg_utils.py, cli_args.py).

vLLM makes most options from the fields of its configuration classes, by their types (arg_utils.py, _compute_kwargs);
the same is done here with the annotations.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

from tests.tools.vllm_tables.tree import Class, Source, strings

ARG_UTILS = "vllm.engine.arg_utils"
# Where make_arg_parser and the front end's options stand, by version.
FRONT_ENDS = (
    "vllm.entrypoints.common.cli_args",
    "vllm.entrypoints.launchers.cli_args",
    "vllm.entrypoints.openai.cli_args",
)


@dataclass(frozen=True)
class Found:
    """One option: `names` as argparse knows them, the long one first.

    kind     flag: no value. switch: no value, and --no-NAME beside it. text, int, size (1k, 2M), float, json, value
             (text or nothing). A trailing + takes several values.
    choices  the only values, where there are such
    """

    names: tuple[str, ...]
    kind: str
    choices: tuple[str, ...] = ()


def options(source: Source) -> list[Found]:
    """Every option of `vllm serve`, in no order."""
    front_end = next(name for name in FRONT_ENDS if source.tree(name) is not None)
    reader = _Reader(source)
    parser = source.find(front_end, "make_arg_parser")
    assert isinstance(parser, ast.FunctionDef)
    reader.read(front_end, parser)
    reader.fields(front_end, "FrontendArgs")
    for name in ("EngineArgs", "AsyncEngineArgs"):
        cls = source.find(ARG_UTILS, name)
        assert isinstance(cls, Class)
        reader.read(ARG_UTILS, next(item for item in cls.node.body if _is_function(item, "add_cli_args")))
    return reader.found


def _is_function(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name == name


class _Reader:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.found: list[Found] = []

    def read(self, module: str, function: ast.AST) -> None:
        """Take every `add_argument` of a function."""
        fields: dict[str, tuple[str, str]] = {}
        for node in ast.walk(function):
            if (
                isinstance(node, ast.Assign)
                and isinstance(node.value, ast.Call)
                and _called(node.value) == "get_kwargs"
            ):
                target, config = node.targets[0], node.value.args[0]
                if isinstance(target, ast.Name) and isinstance(config, ast.Name):
                    fields[target.id] = (module, config.id)
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and _called(node) == "add_argument":
                names = tuple(str(item.value) for item in node.args if isinstance(item, ast.Constant))
                if names and names[0].startswith("-"):
                    self._argument(names, node, fields)

    def _argument(self, names: tuple[str, ...], call: ast.Call, fields: dict[str, tuple[str, str]]) -> None:
        kind, choices = "text", ()  # type: tuple[str, tuple[str, ...]]
        for keyword in call.keywords:
            if keyword.arg is None:
                entry = _entry(keyword.value)
                if entry and entry[0] in fields:
                    kind, choices = self.kind(*fields[entry[0]], entry[1])
        said = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords if keyword.arg}
        action = said.get("action", "").strip("'\"")
        if action in ("store_true", "store_false", "store_const"):
            kind, choices = "flag", ()
        elif action.endswith("BooleanOptionalAction"):
            kind, choices = "switch", ()
        elif said.get("nargs", "").strip("'\"") == "?":
            kind = "value"
        elif "type" in said:
            name = said["type"]
            kind = {"int": "int", "float": "float", "human_readable_int": "size"}.get(name, "text")
            kind = "json" if "json" in name else kind
        long = sorted(names, key=lambda name: (not name.startswith("--"), names.index(name)))
        self.found.append(Found(tuple(long), kind, choices))

    def fields(self, module: str, name: str) -> None:
        """Take an option for each field of a configuration class and of its bases (cli_args.py, FrontendArgs)."""
        cls = self.source.find(module, name)
        assert isinstance(cls, Class)
        line = [entry for entry in self.source.line(cls) if isinstance(entry, Class)]
        changes = _changes(line)
        for entry in line:
            for item in entry.node.body:
                if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                    field = item.target.id
                    kind, choices = self._of_annotation(entry.module, item.annotation, field)
                    kind = changes.get(field, kind)
                    self.found.append(Found((f"--{field.replace('_', '-')}",), kind, choices))

    def kind(self, module: str, config: str, field: str) -> tuple[str, tuple[str, ...]]:
        """The kind and the choices of the option that a configuration's field makes."""
        cls = self.source.find(module, config)
        if not isinstance(cls, Class):
            raise ValueError(f"{config}: no such class in {module}")
        for entry in self.source.line(cls):
            if isinstance(entry, Class):
                for item in entry.node.body:
                    if isinstance(item, ast.AnnAssign) and getattr(item.target, "id", "") == field:
                        return self._of_annotation(entry.module, item.annotation, field)
        raise ValueError(f"{config}.{field}: no such field")

    def _of_annotation(self, module: str, annotation: ast.AST, field: str) -> tuple[str, tuple[str, ...]]:
        hints = self._hints(module, annotation)
        names = {hint for hint in hints if isinstance(hint, str)}
        literals = [hint for hint in hints if isinstance(hint, tuple)]
        if "dataclass" in names:
            return "json", ()
        if names == {"bool", "str", "None"} and not literals:
            return "value", ()
        if "bool" in names:
            return "switch", ()
        if literals and "str" in names:
            return "text", ()
        if literals:
            return "text", tuple(sorted({text for literal in literals for text in literal}))
        for container in ("tuple", "list", "set"):
            inner = next((hint for hint in names if hint.startswith(f"{container}[")), None)
            if inner:
                return ("int+" if inner == f"{container}[int]" else "text+"), ()
        if "int" in names:
            return ("size" if field in _SIZES else "int"), ()
        if "float" in names:
            return "float", ()
        return ("json" if names - {"None"} == {"dict"} else "text"), ()

    def _hints(self, module: str, node: ast.AST) -> set[str | tuple[str, ...]]:
        """The parts of a type: names, `list[int]`, a tuple of texts for Literal, "dataclass" for a configuration."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node = ast.parse(node.value, mode="eval").body
        if isinstance(node, ast.BinOp):
            return self._hints(module, node.left) | self._hints(module, node.right)
        if isinstance(node, ast.Constant):
            return {"None" if node.value is None else str(node.value)}
        if isinstance(node, ast.Subscript):
            name = ast.unparse(node.value).rsplit(".", 1)[-1]
            inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            if name in ("Optional", "Union"):
                found = {hint for item in inner for hint in self._hints(module, item)}
                return found | ({"None"} if name == "Optional" else set())
            if name in ("SkipValidation", "Annotated", "InitVar"):
                return self._hints(module, inner[0])
            if name == "Literal":
                return self._literal(module, inner)
            if name in ("list", "tuple", "set"):
                return {f"{name}[{ast.unparse(inner[0])}]"}
            return {"dict" if name in ("dict", "Mapping", "OrderedDict") else name}
        if isinstance(node, ast.Name):
            return self._named(module, node.id)
        return {ast.unparse(node)}

    def _literal(self, module: str, inner: list[ast.expr]) -> set[str | tuple[str, ...]]:
        """The values of a Literal, those of the Literals in it too; "str" beside them where one cannot be followed."""
        found: set[str | tuple[str, ...]] = {tuple(str(item.value) for item in inner if isinstance(item, ast.Constant))}
        for item in inner:
            if isinstance(item, ast.Name):
                nested = self._named(module, item.id)
                found |= nested if all(isinstance(hint, tuple) for hint in nested) else {"str"}
            elif not isinstance(item, ast.Constant):
                found |= self._hints(module, item)
        return found

    def _named(self, module: str, name: str) -> set[str | tuple[str, ...]]:
        if name in ("int", "float", "bool", "str", "dict", "list", "None", "Any"):
            return {name}
        found = self.source.find(module, name)
        if isinstance(found, Class):
            line = self.source.line(found)
            if any(
                "dict" in ast.unparse(base) for entry in line if isinstance(entry, Class) for base in entry.node.bases
            ):
                return {"dict"}
            decorated = [ast.unparse(item) for item in found.node.decorator_list]
            return {"dataclass" if any("config" in item or "dataclass" in item for item in decorated) else name}
        if isinstance(found, (ast.Subscript, ast.BinOp)):
            where = self._module_of(module, name)
            return self._hints(where, found)
        if isinstance(found, ast.AST) and strings(found):
            return {tuple(strings(found))}
        return {name}

    def _module_of(self, module: str, name: str, depth: int = 0) -> str:
        """The module where a name that is imported gets its value."""
        bound = self.source.names(module).get(name) or []
        if bound and isinstance(bound[-1], ast.ImportFrom) and depth < 20:
            statement = bound[-1]
            original = next(alias.name for alias in statement.names if (alias.asname or alias.name) == name)
            return self._module_of(self.source.absolute(module, statement), original, depth + 1)
        return module


# Numbers that may be given as 1k or 2M; older versions have fewer of them, which a plan need not tell apart.
_SIZES = (
    "max_model_len",
    "max_num_batched_tokens",
    "max_num_scheduled_tokens",
    "kv_cache_memory_bytes",
    "safetensors_prefetch_block_size",
    "max_num_queued_tokens",
)


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _entry(node: ast.AST) -> tuple[str, str] | None:
    """`x_kwargs["field"]`, also as `{**x_kwargs["field"], "default": None}`."""
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and isinstance(node.slice, ast.Constant):
        return node.value.id, str(node.slice.value)
    if isinstance(node, ast.Dict):
        return next((found for value in node.values if (found := _entry(value))), None)
    return None


def _changes(line: list[Class]) -> dict[str, str]:
    """What the front end sets otherwise than a field's type: `frontend_kwargs["x"]["type"] = json.loads` and so on."""
    changes: dict[str, str] = {}
    for cls in line:
        for node in ast.walk(cls.node):
            target = node.targets[0] if isinstance(node, (ast.Assign, ast.Delete)) else None
            if not isinstance(target, ast.Subscript) or not (entry := _entry(target.value)):
                continue
            key = target.slice.value if isinstance(target.slice, ast.Constant) else ""
            if isinstance(node, ast.Assign) and key == "type" and "json" in ast.unparse(node.value):
                changes[entry[1]] = "json"
            elif isinstance(node, ast.Assign) and key == "action" and ast.unparse(node.value) == "'append'":
                changes[entry[1]] = "text"
            elif isinstance(node, ast.Delete) and key == "nargs":
                changes.setdefault(entry[1], "text")
    return changes
