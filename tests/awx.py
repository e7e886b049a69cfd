# SPDX-License-Identifier: GPL-3.0-or-later
"""AWX's rules for surveys and custom credential types, and what it does with a credential before a job.

Restated from AWX's source (awx.main.fields: CredentialTypeInputField, CredentialTypeInjectorField; awx.api.views:
JobTemplateSurveySpec; awx.main.models.credential: inject_credential).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from jinja2 import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

NAME = re.compile(r"[a-zA-Z_]+[a-zA-Z0-9_]*")
FILE_NAME = re.compile(r"template(\.[a-zA-Z_]+[a-zA-Z0-9_]*)?")
FIELD_KEYS = {
    "id",
    "label",
    "type",
    "format",
    "choices",
    "help_text",
    "multiline",
    "secret",
    "ask_at_runtime",
    "default",
}
KINDS = {"cloud", "net"}
# Variables that a credential may not set, beside those that begin with ANSIBLE_.
FORBIDDEN = {
    *("VIRTUAL_ENV", "PATH", "PYTHONPATH", "JOB_ID", "INVENTORY_ID", "INVENTORY_SOURCE_ID", "INVENTORY_UPDATE_ID"),
    *("AD_HOC_COMMAND_ID", "REST_API_URL", "REST_API_TOKEN", "MAX_EVENT_RES", "CALLBACK_QUEUE", "CALLBACK_CONNECTION"),
    *("CACHE", "JOB_CALLBACK_DEBUG", "INVENTORY_HOSTVARS", "AWX_HOST", "PROJECT_REVISION", "SUPERVISOR_CONFIG_PATH"),
}
QUESTION_KINDS = {"text", "textarea", "password", "integer", "float", "multiplechoice", "multiselect"}
SURVEY_KEYS = {"name": str, "description": str, "spec": list}


def survey_faults(survey: Mapping[str, Any]) -> list[str]:
    """What AWX would refuse a survey for."""
    faults = [key for key, kind in SURVEY_KEYS.items() if not isinstance(survey.get(key), kind)]
    variables = [question.get("variable") for question in survey["spec"]]
    faults += [f"{name} twice" for name in set(variables) if variables.count(name) > 1]
    for question in survey["spec"]:
        where = question.get("variable")
        faults += [
            f"{where}: {key}"
            for key in ("type", "question_name", "variable")
            if not isinstance(question.get(key), str) or not question[key].strip()
        ]
        if not isinstance(question.get("required"), bool):
            faults.append(f"{where}: required")
        if question["type"] not in QUESTION_KINDS:
            faults.append(f"{where}: type {question['type']}")
        if not NAME.fullmatch(where or ""):
            faults.append(f"{where}: no variable's name")
        faults += [f"{where}: {end}" for end in ("min", "max") if not isinstance(question.get(end), int | None)]
        faults += _default_faults(question)
    return faults


def _default_faults(question: Mapping[str, Any]) -> list[str]:
    where, default, kind = question["variable"], question.get("default"), question["type"]
    if kind in ("multiplechoice", "multiselect"):
        choices = question.get("choices")
        choices = choices.splitlines() if isinstance(choices, str) else choices
        if not choices:
            return [f"{where}: no choices"]
        chosen = default.splitlines() if isinstance(default, str) else default or []
        return [f"{where}: default {one} is no choice" for one in chosen if one not in choices]
    if default in (None, ""):
        return []
    wanted = {"integer": int, "float": float}.get(kind, str)
    return [] if isinstance(default, wanted) else [f"{where}: default {default!r}"]


def credential_type_faults(kind: Mapping[str, Any]) -> list[str]:
    """What AWX would refuse a custom credential type for."""
    faults = [f"key {key}" for key in set(kind) - {"name", "description", "kind", "inputs", "injectors"}]
    if kind["kind"] not in KINDS:
        faults.append(f"kind {kind['kind']}")
    inputs, injectors = kind["inputs"], kind["injectors"]
    faults += [f"inputs {key}" for key in set(inputs) - {"fields", "required"}]
    names = [field["id"] for field in inputs["fields"]]
    faults += [f"field {name} twice" for name in set(names) if names.count(name) > 1]
    faults += [f"required {name}" for name in set(inputs.get("required", ())) - set(names)]
    for field in inputs["fields"]:
        faults += [f"{field['id']}: {key}" for key in set(field) - FIELD_KEYS]
        if not NAME.fullmatch(field["id"]) or field["id"] == "tower" or not isinstance(field.get("label"), str):
            faults.append(f"{field['id']}: id or label")
        if field.get("type", "string") != "string" and {"choices", "multiline", "format", "secret"} & set(field):
            faults.append(f"{field['id']}: only for a string")
    faults += [f"injectors {key}" for key in set(injectors) - {"file", "env", "extra_vars"}]
    files = injectors.get("file", {})
    faults += [f"file {name}" for name in files if not FILE_NAME.fullmatch(name)]
    if "template" in files and len(files) > 1:
        faults.append("one file without a name beside others")
    for name, template in injectors.get("env", {}).items():
        if not NAME.fullmatch(name) or name.startswith("ANSIBLE_") or name in FORBIDDEN or not template.isascii():
            faults.append(f"variable {name}")
    known = dict.fromkeys(names, "EXAMPLE") | {"tower": SimpleNamespace(filename=_names_of(files, "EXAMPLE"))}
    strict = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
    for templates in injectors.values():
        for name, template in templates.items():
            try:
                strict.from_string(template).render(known)
            except Exception as error:  # a template's own, of many kinds
                faults.append(f"{name}: {error}")
    return faults


def _names_of(files: Mapping[str, str], value: str) -> Any:
    if "template" in files:
        return value
    return SimpleNamespace(**{name.partition(".")[2]: value for name in files})


def inject(kind: Mapping[str, Any], answers: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Write the files of a credential into `folder`, and return the variables of the job's environment.

    A field that nobody filled in is empty text. The database may keep the files' names sorted by length, then by letters.
    """
    known: dict[str, Any] = {field["id"]: answers.get(field["id"], "") for field in kind["inputs"]["fields"]}
    known["tower"] = SimpleNamespace()
    sandbox = ImmutableSandboxedEnvironment()
    files = kind["injectors"].get("file", {})
    for label in sorted(files, key=lambda name: (len(name), name)):
        path = folder / f"credential-{label}"
        path.write_text(sandbox.from_string(files[label]).render(**known), encoding="utf-8")
        path.chmod(0o600)
        if "." not in label:
            known["tower"].filename = str(path)
        else:
            if not hasattr(known["tower"], "filename"):
                known["tower"].filename = SimpleNamespace()
            setattr(known["tower"].filename, label.partition(".")[2], str(path))
    return {
        name: sandbox.from_string(template).render(**known)
        for name, template in kind["injectors"].get("env", {}).items()
    }
