# SPDX-License-Identifier: GPL-3.0-or-later
"""The classes of vLLM's registry, and which of them vLLM divides into pipeline stages (interfaces.py, supports_pp)."""

from __future__ import annotations

import ast

from tests.tools.vllm_tables.tree import Class, Elsewhere, Source

REGISTRY = "vllm.model_executor.models.registry"
MODELS = "vllm.model_executor.models"
DRAFTS, ALL = "_SPECULATIVE_DECODING_MODELS", "_VLLM_MODELS"


def registered(source: Source) -> dict[str, dict[str, tuple[str, str]]]:
    """The registry's parts: table -> name -> (module, class)."""
    tree = source.tree(REGISTRY)
    assert tree is not None
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for statement in tree.body:
        target = statement.targets[0] if isinstance(statement, ast.Assign) else None
        if not isinstance(target, ast.Name) or not target.id.endswith("_MODELS"):
            continue
        if isinstance(statement.value, ast.Dict):
            found[target.id] = _entries(statement.value, found)
    return {name: entries for name, entries in found.items() if entries}


def removed(source: Source) -> dict[str, str]:
    """Classes that are gone, and the last version that had them (_PREVIOUSLY_SUPPORTED_MODELS)."""
    value = source.find(REGISTRY, "_PREVIOUSLY_SUPPORTED_MODELS")
    return ast.literal_eval(value) if isinstance(value, ast.Dict) else {}


def _entries(node: ast.Dict, tables: dict[str, dict[str, tuple[str, str]]]) -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for key, value in zip(node.keys, node.values, strict=True):
        if isinstance(key, ast.Constant) and isinstance(value, ast.Tuple):
            module, name = (item.value for item in value.elts[:2] if isinstance(item, ast.Constant))
            found[str(key.value)] = (str(module), str(name))
        elif key is None and isinstance(value, ast.Name) and value.id in tables:
            found |= tables[value.id]
        elif key is None and isinstance(value, ast.DictComp):
            found |= _selected(value, tables)
    return found


def _selected(node: ast.DictComp, tables: dict[str, dict[str, tuple[str, str]]]) -> dict[str, tuple[str, str]]:
    """`{k: (mod, arch) for k, (mod, arch) in TABLE.items() if arch == "Name"}`, the one form that is used."""
    generator = node.generators[0]
    table = generator.iter.func.value if isinstance(generator.iter, ast.Call) else None  # type: ignore[attr-defined]
    test = generator.ifs[0] if generator.ifs else None
    if not isinstance(table, ast.Name) or not isinstance(test, ast.Compare):
        raise ValueError(f"registry: {ast.unparse(node)}")
    wanted = test.comparators[0]
    assert isinstance(wanted, ast.Constant)
    return {key: entry for key, entry in tables[table.id].items() if entry[1] == wanted.value}


def supports_pipeline(source: Source, module: str, name: str) -> bool | None:
    """Whether the class takes part in pipeline parallelism, as vLLM's own test has it; None: cannot be followed."""
    full = module if module.startswith("vllm.") else f"{MODELS}.{module}"
    cls = source.find(full, name)
    if not isinstance(cls, Class):
        cls = _lazily(source, full, name)
    if not isinstance(cls, Class):
        return None
    line = source.line(cls)
    unknown = any(entry is None for entry in line)
    inherits = any(isinstance(entry, Class) and entry.name == "SupportsPP" for entry in line)
    has_flag = inherits or _has(line, "supports_pp") and _has(line, "make_empty_intermediate_tensors")
    if not has_flag:
        return None if unknown else False
    forward = _method(line, "forward")
    if forward is None:
        return None
    arguments = {argument.arg for argument in (*forward.args.args, *forward.args.kwonlyargs)}
    return "intermediate_tensors" in arguments or forward.args.kwarg is not None


def takes_eagle3(source: Source, module: str, name: str) -> str:
    """Whether EAGLE3 drafts for the class: p over several stages too, n on one stage, u could not be told; "" not at all.

    The states that it reads are handed from stage to stage by the inner model, where that says so
    (vllm/v1/worker/gpu/spec_decode/eagle/eagle3_utils.py).
    """
    full = module if module.startswith("vllm.") else f"{MODELS}.{module}"
    cls = source.find(full, name)
    if not isinstance(cls, Class):
        cls = _lazily(source, full, name)
    line = source.line(cls) if isinstance(cls, Class) else [None]
    if not any(isinstance(entry, Class) and entry.name == "SupportsEagle3" for entry in line):
        return "u" if None in line else ""
    for entry in line:
        flags = [_flag(source.line(inner), "supports_aux_hidden_states_over_pp") for inner in _inner(source, entry)]
        if flags:
            return "p" if True in flags else "n"
    return "u"


def _inner(source: Source, entry: Class | Elsewhere | None) -> list[Class]:
    """The inner models that a class of models names."""
    if not isinstance(entry, Class) or entry.module.endswith(".interfaces"):
        return []
    names = {node.id for node in ast.walk(entry.node) if isinstance(node, ast.Name) and node.id.endswith("Model")}
    return [found for name in sorted(names) if isinstance(found := source.find(entry.module, name), Class)]


def _flag(line: list[Class | Elsewhere | None], name: str) -> bool | None:
    """The value of a class's flag where it is set."""
    for entry in line:
        for statement in entry.node.body if isinstance(entry, Class) else ():
            target = statement.targets[0] if isinstance(statement, ast.Assign) else getattr(statement, "target", None)
            value = getattr(statement, "value", None)
            if isinstance(target, ast.Name) and target.id == name and isinstance(value, ast.Constant):
                return bool(value.value)
    return None


def _lazily(source: Source, module: str, name: str) -> Class | None:
    """A class that a package hands out by __getattr__: looked up in the part for NVIDIA's GPUs."""
    for part in ("nvidia.model", "nvidia.mtp", "model", "mtp"):
        found = source.find(f"{module}.{part}", name)
        if isinstance(found, Class):
            return found
    return None


def _has(line: list[Class | Elsewhere | None], name: str) -> bool:
    for entry in line:
        if isinstance(entry, Class) and entry.name not in ("SupportsPP", "_SupportsPPType"):
            for statement in entry.node.body:
                targets = (
                    statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
                )
                if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                    return True
                if isinstance(statement, ast.FunctionDef) and statement.name == name:
                    return True
    return False


def _method(line: list[Class | Elsewhere | None], name: str) -> ast.FunctionDef | None:
    for entry in line:
        if isinstance(entry, Class):
            for statement in entry.node.body:
                if isinstance(statement, ast.FunctionDef) and statement.name == name:
                    return statement
    return None
