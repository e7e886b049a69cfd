# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The recipe's table in other forms: a JSON Schema for editors, and surveys for AWX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .formats import Format
from .inputs import RECIPE_FILE
from .parameters import RECIPE, Parameter
from .settings import SETTINGS
from .values import expected_of

# What counts as a number or a truth value when it is written as text; an empty text is not given.
_DIGITS = r"^\s*(-?[0-9]{1,18})?\s*$"
_TRUTH = r"^\s*([Tt]rue|TRUE|[Ff]alse|FALSE|[Yy]es|YES|[Nn]o|NO|[Oo]n|ON|[Oo]ff|OFF|0|1)?\s*$"
_STRUCTURED = ("object", "objects", "list")
# Settings that a survey asks for beside the recipe.
_ASKED = ("oke_cluster_id",)
_SURVEY_TEXT = 4096
_LONGEST_RECIPE = 2**20


def recipe_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a recipe file."""
    schema = _object(RECIPE)
    # With this key an editor finds the schema; the product takes it for another's.
    schema["properties"] = {"$schema": {"type": "string"}, **schema["properties"]}
    # The number of workers follows from the nodes, unless the plan chooses both.
    schema["if"] = {"properties": {"recipe_node_pool_size": {"const": "auto"}}}
    schema["else"] = {
        "properties": {
            "recipe_raycluster_params": {"if": {"type": "object"}, "then": {"required": ["num_worker_nodes"]}}
        }
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Recipe of multinode.inference",
        "description": "What to serve: a model, on a number of nodes of one shape.",
        **schema,
        # Object Storage or a Hugging Face repository.
        "oneOf": [{"required": ["input_object_storage"]}, {"required": ["input_hugging_face"]}],
    }


def awx_survey() -> dict[str, Any]:
    """Return a survey for an AWX job template of the deploy playbook: one question for each parameter served."""
    settings = tuple(setting for setting in SETTINGS if setting.name in _ASKED)
    # What has to be answered stands first.
    served = sorted((entry for entry in RECIPE if not entry.not_served), key=lambda entry: not entry.required)
    return {
        "name": "Deploy a model",
        "description": "The recipe. Leave out what you do not want to set; answer objects and lists as JSON.",
        "spec": [_question(parameter) for parameter in (*settings, *served)],
    }


def awx_recipe_file_survey() -> dict[str, Any]:
    """Return a survey that asks for the recipe as one text: AWX hands it on as recipe_file, which is read as data."""
    settings = tuple(setting for setting in SETTINGS if setting.name in _ASKED)
    whole = Parameter(RECIPE_FILE, "object", "The recipe as JSON; it may not contain settings.", required=True)
    question = {**_question(whole), "max": _LONGEST_RECIPE}
    return {
        "name": "Deploy a recipe",
        "description": "A recipe, also one from others: it is read as data.",
        "spec": [*(_question(setting) for setting in settings), question],
    }


def _object(table: Sequence[Parameter]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {parameter.name: _property(parameter) for parameter in table},
        "required": [parameter.name for parameter in table if parameter.required],
        "additionalProperties": False,
    }


def _property(parameter: Parameter) -> dict[str, Any]:
    description = parameter.description
    if parameter.wire:
        description += f" Becomes: {parameter.wire}."
    if parameter.not_served:
        description += f" Not supported: {parameter.not_served}."
    schema: dict[str, Any] = {"description": description, **_value(parameter)}
    if parameter.default is not None:
        schema["default"] = parameter.default
    if parameter.not_served:
        schema["deprecated"] = True
    return schema


def _value(parameter: Parameter) -> dict[str, Any]:
    """What a value may be: numbers and truth values as text too, as the published recipes write them."""
    if parameter.choices:
        return {"enum": list(parameter.choices)}
    kind = parameter.kind
    if kind == "object":
        return _object(parameter.properties)
    if kind == "objects":
        return {"type": "array", "items": _object(parameter.properties)}
    if kind == "list":
        return {"type": "array", "items": _text(parameter.format)}
    if kind == "string":
        return _text(parameter.format)
    if kind == "boolean":
        return {"anyOf": [{"type": "boolean"}, {"type": "string", "pattern": _TRUTH}]}
    number: dict[str, Any] = {"type": "integer"}
    if parameter.minimum is not None:
        number["minimum"] = parameter.minimum
    if parameter.maximum is not None:
        number["maximum"] = parameter.maximum
    choices: list[dict[str, Any]] = [number, {"type": "string", "pattern": _DIGITS}]
    if parameter.words:
        choices.append({"enum": list(parameter.words)})
    return {"anyOf": choices}


def _text(form: Format) -> dict[str, Any]:
    """A text of that form, with blanks around it or empty (not given); a number where its digits have the form."""
    schema: dict[str, Any] = {
        "type": ["string", "integer"] if form.takes("12") else "string",
        "pattern": rf"^\s*({form.pattern})?\s*$",
        "maxLength": form.longest,
    }
    return schema if form.hidden else {**schema, "examples": [form.example]}


def _question(parameter: Parameter) -> dict[str, Any]:
    """One question in the form of AWX's survey_spec."""
    question: dict[str, Any] = {
        "question_name": parameter.name,
        "question_description": f"{parameter.description} ({expected_of(parameter)})",
        "variable": parameter.name,
        "required": parameter.required or parameter.name in _ASKED,
        "type": "text",
        "min": 0,
        "max": _SURVEY_TEXT,
        "default": "" if parameter.default is None else str(parameter.default),
        "choices": "",
    }
    if parameter.choices or parameter.kind == "boolean":
        choices = list(parameter.choices) or ["true", "false"]
        default = choices[0] if parameter.choices else str(bool(parameter.default)).lower()
        question.update(type="multiplechoice", choices=choices, default=default, min=None, max=None)
    elif parameter.kind in _STRUCTURED:
        question.update(type="textarea")
    elif parameter.kind == "integer" and not parameter.words:
        # AWX wants both ends of the range.
        question.update(type="integer", min=parameter.minimum or 0, max=parameter.maximum or 2**31 - 1)
        question["default"] = "" if parameter.default is None else parameter.default
    return question
