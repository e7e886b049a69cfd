# SPDX-License-Identifier: GPL-3.0-or-later
"""The JSON Schema and the survey say what the table says."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Findings, Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.inputs import read_inputs
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.parameters import RECIPE, Parameter
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.schema import (
    awx_recipe_file_survey,
    awx_survey,
    recipe_schema,
)
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.values import read_known

from ..recipes import CLUSTER, recipe

SAMPLES = sorted(
    path for path in (Path(__file__).parents[4] / "sample_recipes").glob("*.json") if path.name != "recipe.schema.json"
)
VALIDATOR = jsonschema.Draft202012Validator(recipe_schema())


def good(parameter: Parameter) -> Any:
    """A value that the parameter takes."""
    if parameter.choices:
        return parameter.choices[0]
    if parameter.kind == "object":
        return {inner.name: good(inner) for inner in parameter.properties}
    if parameter.kind == "objects":
        return [{inner.name: good(inner) for inner in parameter.properties}]
    if parameter.kind == "list":
        return [parameter.format.example]
    return {"integer": max(1, parameter.minimum or 1), "boolean": True}.get(parameter.kind, parameter.format.example)


def paths(table: tuple[Parameter, ...], where: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Parameter]]:
    for parameter in table:
        here = (*where, parameter.name)
        yield here, parameter
        yield from paths(parameter.properties, (*here, 0) if parameter.kind == "objects" else here)


def whole() -> dict[str, Any]:
    given = {parameter.name: good(parameter) for parameter in RECIPE}
    del given["input_hugging_face"]
    return given


def changed(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    given = copy.deepcopy(whole())
    target: Any = given
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    return given


def served(table: tuple[Parameter, ...]) -> tuple[Parameter, ...]:
    """The table as if everything in it were served: what is not has one fault, whatever is inside."""
    return tuple(replace(entry, not_served="", properties=served(entry.properties)) for entry in table)


def refused_by_table(given: dict[str, Any]) -> bool:
    findings = Findings()
    read_known(given, served(RECIPE), findings)
    return bool(findings.faults)


ALL = [pair for pair in paths(RECIPE) if pair[0][0] != "input_hugging_face"]


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(recipe_schema())


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_is_valid(path: Path) -> None:
    VALIDATOR.validate(json.loads(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(("path", "parameter"), ALL, ids=lambda value: value[-1] if isinstance(value, tuple) else "")
def test_schema_and_table_agree_on_each_parameter(path: tuple[Any, ...], parameter: Parameter) -> None:
    assert VALIDATOR.is_valid(whole())
    assert not refused_by_table(whole())
    numbers = [value for value in (parameter.minimum, parameter.maximum) if value is not None]
    candidates = [*numbers, *(value + step for value in numbers for step in (-1, 1)), *parameter.words]
    # The range of a number written as text is left to the table.
    for value in [
        *candidates,
        str(good(parameter)),
        "true",
        "nonsense",
        1.5,
        True,
        [[1]],
        {"nonsense": [1]},
        ["x"],
        [{"nonsense": 1}],
    ]:
        given = changed(path, value)
        if isinstance(value, str) and parameter.kind in ("object", "objects", "list", "mapping"):
            continue  # Text is read as JSON where it comes from a survey; a recipe file is JSON itself.
        in_words = parameter.words and value in parameter.words
        by_schema = not all(
            # With `auto` the number of workers is a matter of the rules.
            in_words and "num_worker_nodes" in error.message
            for error in VALIDATOR.iter_errors(given)
        )
        assert by_schema == refused_by_table(given), f"{path}: {value!r}"


@pytest.mark.parametrize("name", [parameter.name for parameter in RECIPE if parameter.required])
def test_what_is_required_is_missed_by_both(name: str) -> None:
    given = whole()
    del given[name]
    assert not VALIDATOR.is_valid(given)
    with pytest.raises(Refused):
        read_inputs({**given, "oke_cluster_id": CLUSTER})


def test_the_schema_knows_where_the_workers_may_be_left_out() -> None:
    given = {key: value for key, value in recipe().items() if key != "oke_cluster_id"}
    del given["recipe_raycluster_params"]["num_worker_nodes"]
    assert not VALIDATOR.is_valid(given)
    assert VALIDATOR.is_valid({**given, "recipe_node_pool_size": "auto"})


def test_unknown_keys_are_refused_by_the_schema() -> None:
    assert not VALIDATOR.is_valid({**whole(), "recipe_colour": "red"})


def test_the_survey_asks_for_what_is_served() -> None:
    spec = awx_survey()["spec"]
    served = {parameter.name for parameter in RECIPE if not parameter.not_served}
    assert {question["variable"] for question in spec} == served | {"oke_cluster_id"}
    required = [question["variable"] for question in spec if question["required"]]
    assert set(required) == {"oke_cluster_id", *(parameter.name for parameter in RECIPE if parameter.required)}


def test_the_answers_of_a_survey_are_a_recipe() -> None:
    """AWX gives text for text areas and choices, numbers for integers, and empty text for no answer."""
    sample = recipe()
    answers: dict[str, Any] = {}
    for question in awx_survey()["spec"]:
        value = sample.get(question["variable"], question["default"])
        if question["type"] == "textarea" and not isinstance(value, str):
            value = json.dumps(value)
        answers[question["variable"]] = int(value) if question["type"] == "integer" and value != "" else value
    assert read_inputs(answers).recipe == read_inputs(sample).recipe


def test_a_recipe_is_one_answer_of_the_other_survey() -> None:
    cluster, whole = awx_recipe_file_survey()["spec"]
    assert (cluster["variable"], whole["variable"], whole["type"]) == ("oke_cluster_id", "recipe_file", "textarea")
    assert cluster["required"] and whole["required"]
