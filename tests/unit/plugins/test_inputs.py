# SPDX-License-Identifier: GPL-3.0-or-later
"""A recipe that others wrote is read as data: from recipe_file, of which Ansible sees the name only."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Refused
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.inputs import read_inputs
from ansible_collections.multinode.inference.plugins.plugin_utils import inputs
from ansible_collections.multinode.inference.plugins.plugin_utils.inputs import given_inputs, read_recipe_file

from ..core.recipes import CLUSTER, recipe

ALONE = {key: value for key, value in recipe().items() if key != "oke_cluster_id"}


def given_by(monkeypatch: pytest.MonkeyPatch, **variables: Any) -> Any:
    """What the actions read where these are the extra variables."""
    monkeypatch.setattr(inputs, "load_extra_vars", lambda loader: {"oke_cluster_id": CLUSTER, **variables})
    return given_inputs(None)  # type: ignore[arg-type]


def faults_of(monkeypatch: pytest.MonkeyPatch, **variables: Any) -> list[str]:
    with pytest.raises(Refused) as refused:
        given_by(monkeypatch, **variables)
    return [fault.line() for fault in refused.value.faults]


def found_in(named: str) -> str:
    with pytest.raises(Refused) as refused:
        read_recipe_file(named)
    (fault,) = refused.value.faults
    assert (fault.code, fault.where) == ("recipe_file", "recipe_file") and "canary" not in fault.line()
    return fault.found


@pytest.mark.parametrize("form", ["path", "inline", "mapping"])
def test_the_recipe_is_the_same_by_every_way(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, form: str) -> None:
    monkeypatch.chdir(tmp_path)
    text = json.dumps({"$schema": "./recipe.schema.json", **ALONE})
    (tmp_path / "from others.json").write_text(text, encoding="utf-8")
    named: Any = {"path": "from others.json", "inline": f"\n {text}", "mapping": json.loads(text)}[form]
    read = given_by(monkeypatch, recipe_file=named, namespace="models")
    usual = read_inputs(recipe(namespace="models"))
    assert (read.recipe, read.settings, read.secrets, read.given) == (
        usual.recipe,
        usual.settings,
        usual.secrets,
        usual.given,
    )


def test_what_is_empty_is_no_recipe_file(monkeypatch: pytest.MonkeyPatch) -> None:
    assert given_by(monkeypatch, **ALONE, recipe_file="  ").recipe == read_inputs(recipe()).recipe


def test_text_of_it_stays_text(monkeypatch: pytest.MonkeyPatch) -> None:
    template = "{{ lookup('pipe', 'id') }}"
    assert (
        given_by(monkeypatch, recipe_file=json.dumps({**ALONE, "recipe_id": template})).recipe["recipe_id"] == template
    )


def test_settings_and_other_variables_do_not_come_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    more = {"helm_binary": "/tmp/x", "ansible_python_interpreter": "/tmp/x", "recipe_result": {}}
    lines = faults_of(monkeypatch, recipe_file=json.dumps(ALONE | more))
    assert lines == [
        (
            "recipe_file.helm_binary: a setting inside the recipe, expected recipe parameters only; remove it, and give it "
            "as an extra variable (-e helm_binary=...) if you want it"
        ),
        (
            "recipe_file.ansible_python_interpreter: a key that is not known, expected a known parameter; "
            "remove recipe_file.ansible_python_interpreter"
        ),
        (
            "recipe_file.recipe_result: a key that is not known, expected a known parameter; "
            "remove recipe_file.recipe_result"
        ),
    ]


def test_a_key_is_given_in_one_way(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = faults_of(monkeypatch, recipe_file=json.dumps(ALONE), recipe_id="other", deployment_name="other")
    assert [line.partition(", expected")[0] for line in lines] == [
        "recipe_id: given beside `recipe_file`",
        "deployment_name: given beside `recipe_file`",
    ]
    lines = faults_of(monkeypatch, recipe_file=json.dumps(ALONE), recipe=ALONE)
    assert lines == ["recipe_file: given beside `recipe`, expected one place; remove one"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"canary": 1,', "no JSON: Expecting property name enclosed in double quotes in line 1, column 14"),
        ('{"a": [' + "[" * 100_000, "JSON nested too deeply to be read"),
        ('{"a": NaN}', "the number NaN"),
        ('{"a": ' + "9" * 400_000 + "}", "a number with too many digits"),
        ('{"a": 1, "a": 2}', "the key 'a' twice"),
        ('{"b": {"a": 1, "a": 2}}', "the key 'a' twice"),
        # As many keys as a recipe has bytes for: each is looked up once.
        ("{" + "".join(f'"{number:x}":1,' for number in range(100_000)) + '"1869f":1}', "the key '1869f' twice"),
        ('{"a": "' + "x" * 2**20 + '"}', "more than 1048576 bytes"),
    ],
)
def test_what_is_no_recipe_is_refused(tmp_path: Path, text: str, found: str) -> None:
    assert found_in(text) == found
    (tmp_path / "recipe.json").write_text(text, encoding="utf-8")
    file = str(tmp_path / "recipe.json")
    assert found_in(file) == (f"{found} of {file}" if found.startswith("no JSON") else found)


def test_files_that_are_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "binary").write_bytes(b"\x1f\x8b\xff")
    (tmp_path / "list").write_text("[1]", encoding="utf-8")
    assert found_in(str(tmp_path / "absent")).endswith("absent: No such file or directory")
    assert found_in(str(tmp_path)).endswith((": Is a directory", ", which is no file"))
    assert found_in(str(tmp_path / "pipe")).endswith(", which is no file")
    assert found_in("/dev/zero").endswith(", which is no file")
    assert found_in(str(tmp_path / "binary")) == "a byte at 1 that is not UTF-8"
    assert found_in(str(tmp_path / "list")) == "JSON, but not an object"
    assert found_in("a\0b") == "not a valid path"


def test_a_depth_that_json_reads_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    deep = json.dumps({**ALONE, "recipe_id": json.loads("[" * 100 + "]" * 100)})
    assert faults_of(monkeypatch, recipe_file=deep) == [
        "recipe_id: a value nested more than 16 deep, expected a flat one; correct recipe_id"
    ]


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode(errors="surrogatepass")))
def test_no_bytes_give_a_traceback(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any recipe.json"
    path.write_bytes(content)
    try:
        assert isinstance(read_recipe_file(str(path)), dict)
    except Refused as refused:
        assert refused.faults


@given(st.text(max_size=60))
def test_no_name_gives_a_traceback(named: str) -> None:
    try:
        read_recipe_file("{" + named)
    except Refused as refused:
        assert refused.faults
    try:
        read_recipe_file("/proc/self/no/" + named)
    except Refused as refused:
        assert refused.faults
