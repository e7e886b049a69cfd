# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Plain data to SDK models and back. Field names are the SDK's, in snake case."""

from __future__ import annotations

import difflib
import re
from typing import Any

from ..core.fault import Fault, Refused

try:
    import oci
except ImportError:  # reported by the module (module.py)
    oci = None


def as_data(model: Any, *needed: str) -> Any:
    """Return a model, or a list of them, as plain data without its empty fields. Raises Refused where one of `needed` is empty."""
    data = _without_none(oci.util.to_dict(model))
    for one in data if isinstance(data, list) else [data]:
        if missing := [field for field in needed if not (isinstance(one, dict) and one.get(field))]:
            words = f"{type(model).__name__} without {', '.join(missing)}"
            raise Refused([Fault("cloud_answer", "Oracle Cloud", words, "the API's own answer", "run again")])
    return data


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_none(item) for item in value]
    return value


def as_model(module: Any, class_name: str, data: dict[str, Any], where: str) -> Any:
    """Return `data` as the model `class_name` of the SDK's `module` (such as `oci.container_engine.models`).

    where  place named in a fault. An unknown field or a value of the wrong kind is refused: the SDK would drop or send
    it without a word.
    """
    faults: list[Fault] = []
    model = _model(module, class_name, data, where, faults)
    if faults:
        raise Refused(faults)
    return model


def _model(module: Any, class_name: str, data: Any, where: str, faults: list[Fault]) -> Any:
    if not isinstance(data, dict):
        faults.append(Fault("wrong_type", where, f"{data!r}", "a mapping"))
        return None
    model_class = getattr(module, class_name)
    if hasattr(model_class, "get_subtype"):
        json_names = model_class().attribute_map
        subtype = model_class.get_subtype({json_names[key]: value for key, value in data.items() if key in json_names})
        model_class = getattr(module, subtype)
    model = model_class()
    for key, value in data.items():
        if key not in model.swagger_types:
            near = difflib.get_close_matches(key, model.swagger_types, 1)
            expected = near[0] if near else "one of " + ", ".join(sorted(model.swagger_types))
            faults.append(Fault("unknown_field", f"{where}.{key}", "no field of the OCI API", expected))
        elif value is not None:
            setattr(model, key, _value(module, model.swagger_types[key], value, f"{where}.{key}", faults))
    return model


def _value(module: Any, declared: str, value: Any, where: str, faults: list[Fault]) -> Any:
    listed = re.fullmatch(r"list\[(.*)]", declared)
    if listed:
        if not isinstance(value, list):
            faults.append(Fault("wrong_type", where, f"{value!r}", "a list"))
            return None
        return [_value(module, listed.group(1), item, f"{where}[{place}]", faults) for place, item in enumerate(value)]
    if declared.startswith("dict("):
        if not isinstance(value, dict):
            faults.append(Fault("wrong_type", where, f"{value!r}", "a mapping"))
            return None
        return {str(key): str(item) if declared == "dict(str, str)" else item for key, item in value.items()}
    if declared in ("int", "float", "bool", "str"):
        kinds = {"int": int, "float": (int, float), "bool": bool, "str": str}[declared]
        if not isinstance(value, kinds) or (declared != "bool" and isinstance(value, bool)):  # type: ignore[arg-type]
            faults.append(Fault("wrong_type", where, f"{value!r}", {"str": "a text"}.get(declared, f"{declared}")))
            return None
        return value
    return _model(module, declared, value, where, faults)
