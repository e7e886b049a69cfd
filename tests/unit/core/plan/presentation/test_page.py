# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan for a person: text of at most 100 columns, and a page of HTML."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from ansible_collections.multinode.inference.plugins.module_utils.core.plan.presentation.page import page
from ansible_collections.multinode.inference.plugins.module_utils.core.plan.presentation.text import (
    COLUMNS,
    describe,
    describe_shortly,
    shorten,
)

from ...plans import facts, plan

OCID = "ocid1.image.oc1.iad.aaaaaaaa7tnjqvsetcrzvmhbvmdbgkfoqppbzdwhvfpiqs6kbkpxhtqvkzsa"
CASES: list[dict[str, Any]] = [
    {},
    {"endpoint_exposure": "load_balancer"},
    {"recipe_node_pool_size": 1, "recipe_raycluster_params__num_worker_nodes": 0},
    {"recipe_node_pool_size": 32, "recipe_raycluster_params__num_worker_nodes": 31},
    {"recipe_image_uri": "registry.example.com/" + "a" * 120 + ":1"},
]


@pytest.mark.parametrize("changes", CASES)
def test_no_line_is_wider_than_a_terminal(changes: dict[str, Any]) -> None:
    made = plan(**changes)
    for line in [*describe(made), *describe_shortly(made)]:
        assert len(line) <= COLUMNS and line == line.rstrip()


def test_the_text_says_where_each_layer_goes_and_what_it_costs() -> None:
    text = "\n".join(describe(plan()))
    for part in (
        "4 x VM.GPU.A10.2",
        "0 head       0-7         4.0 GB  [####++++++==============================]        983,408",
        "weights 2.1, overhead 3.1, KV cache 15.0 of 20.2 GiB",
        "16.30 USD an hour",
        "8 GPUs of gpu-a10-count",
        "4 nodes, and 1 would do",
    ):
        assert part in text


def test_the_short_form_has_what_is_to_be_known_before_money_is_spent() -> None:
    made = plan()
    short = describe_shortly(made)
    assert len(short) < len(describe(made)) / 2
    assert any(line.startswith("Price") for line in short) and any(line.startswith("Warning") for line in short)


def test_ocids_are_shortened() -> None:
    assert shorten(f"{OCID}, newest") == "ocid1.image...qvkzsa, newest"
    assert shorten("no OCID here") == "no OCID here"


class _Outline(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


@pytest.mark.parametrize("changes", CASES)
def test_the_page_is_well_formed_and_loads_nothing(changes: dict[str, Any]) -> None:
    text = page(plan(**changes))
    ElementTree.fromstring(text)
    outline = _Outline()
    outline.feed(text)
    assert not {"script", "link", "img", "iframe", "object", "use"} & set(outline.tags)
    assert not {"href", "src", "xlink:href", "style"} & {name for name, _value in outline.attributes}
    assert not re.search(r"url\(|@import|https?:", text)
    assert outline.tags.count("svg") >= 4


def test_the_page_has_a_card_for_each_node_and_a_column_for_each_gpu() -> None:
    text = page(plan())
    assert [f"Stage {number}:" in text for number in range(5)] == [True] * 4 + [False]
    assert text.count('class="free"') == 4 * 2


def test_the_page_says_what_changes() -> None:
    made = plan()
    assert "What changes" not in page(made)
    made["existing"] = {"keep_pods": True, "changes": [], "kept": [], "by_delete": False, "failed": False}
    assert "the deployment is up to date" in page(made)
    part = {"name": "--max-model-len", "was": "(model's own)", "now": "<1024>"}
    made["existing"]["changes"] = [{"field": "engine.args", "class": "restart", "parts": [part] * 50}]
    assert "<th>--max-model-len</th><td>(model&#x27;s own) &#8594; &lt;1024&gt; (restart)</td>" in page(made)
    assert page(made).count("<th>--max-model-len</th>") == 40 and "<th>and more</th><td>10</td>" in page(made)


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(BROWSER is None, reason="the page was not looked at: there is no Chromium here")
def test_a_browser_draws_the_page_and_asks_for_nothing_else(tmp_path: Path) -> None:
    source, picture = tmp_path / "plan.html", tmp_path / "plan.png"
    source.write_text(page(plan()), encoding="utf-8")
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
    command += [
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--window-size=1000,1600",
    ]
    command += [f"--screenshot={picture}", "--dump-dom", source.as_uri()]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0 and picture.is_file(), run.stderr
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 20_000, "something is drawn"
    # What the browser made of it has everything that was written: nothing was dropped as malformed.
    drawn = page(plan())
    for tag in ("svg", "rect", "text", "table", "tr"):
        assert run.stdout.count(f"<{tag}") == drawn.count(f"<{tag}"), tag


def test_text_of_the_user_is_escaped() -> None:
    found = facts()
    nasty = "<script>alert(1)</script>&\"'\x07"
    model = {**found.model, "config": {**found.model["config"], "architectures": [nasty]}}
    text = page(plan(facts(model=model)))
    ElementTree.fromstring(text)
    assert "<script>" not in text and "&lt;script&gt;" in text and "\x07" not in text


def test_a_shape_of_unknown_size_is_shown_without_numbers_that_nobody_knows() -> None:
    made = plan()
    made["expected"]["cost"].update(nodes=None, total=None)
    made["memory"] = None
    assert "not known for this shape" in "\n".join(describe(made))
    ElementTree.fromstring(page(made))
