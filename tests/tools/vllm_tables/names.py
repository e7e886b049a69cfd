# SPDX-License-Identifier: GPL-3.0-or-later
"""Parsers, environment variables and quantization methods, as a version's source lists them."""

from __future__ import annotations

import ast

from tests.tools.vllm_tables.tree import Class, Source, strings

_TOOL_PARSERS = ("vllm.tool_parsers", "vllm.entrypoints.openai.tool_parsers")
QUANTIZATION = "vllm.model_executor.layers.quantization"
_SPECULATION = "vllm.config.speculative"
# What vLLM fills in itself, and a name that it has only to refuse it.
_NOT_GIVEN = ("target_", "draft_model_config", "draft_parallel_config", "tensor_parallel_size")


def tool_parsers(source: Source) -> set[str]:
    """The names that --tool-call-parser takes."""
    return set().union(*(_keys(source.find(module, "_TOOL_PARSERS_TO_REGISTER")) for module in _TOOL_PARSERS))


def reasoning_parsers(source: Source) -> set[str]:
    """The names that --reasoning-parser takes."""
    return _keys(source.find("vllm.reasoning", "_REASONING_PARSERS_TO_REGISTER"))


def variables(source: Source) -> set[str]:
    """The environment variables of vLLM itself; of others' it reads some too."""
    return {name for name in _keys(source.find("vllm.envs", "environment_variables")) if name.startswith("VLLM_")}


def deprecated_methods(source: Source) -> set[str]:
    """Quantization methods that want --allow-deprecated-quantization."""
    return set(strings(source.find(QUANTIZATION, "DEPRECATED_QUANTIZATION_METHODS")))


def configs(source: Source) -> set[str]:
    """The model types that vLLM has a configuration class of its own for."""
    call = source.find("vllm.transformers_utils.config", "_CONFIG_REGISTRY")
    assert isinstance(call, ast.Call)
    # `LazyConfigDict(name="Class", **{"other-name": "Class"})`
    return {name for item in call.keywords for name in ([item.arg] if item.arg else _keys(item.value))}


def speculation_methods(source: Source) -> set[str]:
    """What `method` in --speculative-config may be."""
    return set(_literals(source, source.find(_SPECULATION, "SpeculativeMethod")))


def speculation_fields(source: Source) -> set[str]:
    """What --speculative-config may have."""
    config = source.find(_SPECULATION, "SpeculativeConfig")
    assert isinstance(config, Class)
    names = {
        statement.target.id
        for statement in config.node.body
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
    }
    return {name for name in names if not name.startswith(_NOT_GIVEN)}


def _literals(source: Source, node: object) -> list[str]:
    """The texts of a Literal[...], and of those that it names."""
    if not isinstance(node, ast.Subscript):
        return []
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    named = [part.id for part in parts if isinstance(part, ast.Name)]
    return strings(node) + [text for name in named for text in _literals(source, source.find(_SPECULATION, name))]


def capabilities(source: Source) -> dict[str, int | None]:
    """Least compute capability (75 is 7.5) by method, and by `method/scheme` where schemes are told apart."""
    package = source.tree(QUANTIZATION)
    assert package is not None
    methods = strings(source.find(QUANTIZATION, "QuantizationMethods"))
    function = next(
        node for node in package.body if isinstance(node, ast.FunctionDef) and node.name == "get_quantization_config"
    )
    classes, table = _local_classes(source, function), _method_table(function)
    # Shorthands of the online method are filled in where no class is named for them.
    online = classes.get("OnlineQuantizationConfig")
    found: dict[str, int | None] = {}
    for method in methods:
        cls = classes.get(table[method]) if method in table else online
        found[method] = _least(source, cls)
    for folder, method in (("compressed_tensors", "compressed-tensors"), ("quark", "quark")):
        place = f"{QUANTIZATION}.{folder}.schemes"
        for file in sorted(source.folder.joinpath(*place.split(".")[1:]).glob(f"{folder}_*.py")):
            scheme = file.stem.removeprefix(f"{folder}_")
            least = [
                value
                for name, bound in source.names(f"{place}.{file.stem}").items()
                if isinstance(bound[-1], ast.ClassDef)
                and scheme != "scheme"
                and (value := _least(source, Class(f"{place}.{file.stem}", bound[-1], name))) is not None
            ]
            if least:
                found[f"{method}/{scheme}"] = min(least)
    return found


def _keys(node: object) -> set[str]:
    if not isinstance(node, ast.Dict):
        return set()
    return {str(key.value) for key in node.keys if isinstance(key, ast.Constant)}


def _local_classes(source: Source, function: ast.FunctionDef) -> dict[str, Class]:
    """What a function imports, by the names it uses; for NVIDIA's GPUs (of an `if` by platform, the first branch)."""
    found: dict[str, Class] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                target = source.find(source.absolute(QUANTIZATION, node), alias.name)
                if isinstance(target, Class):
                    found[alias.asname or alias.name] = target
    for node in ast.walk(function):
        # `deepseek_config: type[...] = DeepseekV41FP8Config`
        if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Name) and isinstance(node.target, ast.Name):
            if node.value.id in found:
                found.setdefault(node.target.id, found[node.value.id])
    return found


def _method_table(function: ast.FunctionDef) -> dict[str, str]:
    for node in ast.walk(function):
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "method_to_config":
            assert isinstance(node.value, ast.Dict)
            return {
                str(key.value): ast.unparse(value)
                for key, value in zip(node.value.keys, node.value.values, strict=True)
                if isinstance(key, ast.Constant)
            }
    raise ValueError("get_quantization_config: no table method_to_config")


def _least(source: Source, cls: Class | None) -> int | None:
    """What get_min_capability returns: the last of its statements, as a variable may lower it for emulation."""
    for entry in source.line(cls) if cls else ():
        if isinstance(entry, Class):
            for item in entry.node.body:
                if isinstance(item, ast.FunctionDef) and item.name == "get_min_capability":
                    last = item.body[-1]
                    value = last.value if isinstance(last, ast.Return) else None
                    if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
                        owner = source.find(entry.module, ast.unparse(value.func.value))
                        return _least(source, owner if isinstance(owner, Class) else None)
                    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, int) else None
    return None
