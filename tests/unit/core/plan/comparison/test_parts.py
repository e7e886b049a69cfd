# SPDX-License-Identifier: GPL-3.0-or-later
"""What differs inside a field is said by its name, from what to what: bounded, without secrets or what a terminal acts on."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.multinode.inference.plugins.module_utils.core.plan.comparison.parts import parts_of
from ansible_collections.multinode.inference.plugins.module_utils.core.plan.comparison.words import (
    LONGEST,
    NOT_RECORDED,
    line,
)

SECRET = "hunter2hunter2hunter2"


@pytest.mark.parametrize(
    ("field", "was", "now", "lines"),
    [
        ("engine.args", ["--port", "1"], ["--port", "1", "--max-model-len", "1024"], ["--max-model-len: (model's own) -> 1024"]),
        ("engine.args", ["--enforce-eager"], ["--no-enforce-eager"], ["--enforce-eager: on -> off"]),
        ("engine.args", ["--max_num_seqs=8"], ["--max-num-seqs", "9"], ["--max-num-seqs: 8 -> 9"]),
        (
            "engine.args",
            ["--speculative-config.method", "ngram"],
            [],
            ["--speculative-config.method: ngram -> (vLLM's default)"],
        ),
        ("engine.optional", [["--shutdown-timeout", "45"]], [["--shutdown-timeout", "60"]], ["--shutdown-timeout: 45 -> 60"]),
        ("engine.env", {"A": "1", "B": "2"}, {"A": "1", "B": "3", "C": ""}, ["variable B: 2 -> 3", 'variable C: (not given) -> ""']),
        ("pod.image", "a:1", "a:2", ["pod.image: a:1 -> a:2"]),
        ("nodes.boot_volume_gb", 100, 200, ["boot volume (GB): 100 -> 200"]),
        (
            "node_pool.node_source_details",
            {"image_id": "a", "boot_volume_size_in_gbs": 1},
            {"image_id": "b", "boot_volume_size_in_gbs": 1},
            ["node image: a -> b"],
        ),
        (
            "pod.volumes",
            [{"name": "model", "size_gib": 1}, {"name": "b"}],
            [{"name": "b"}, {"name": "model", "size_gib": 2}],
            ["pod.volumes[model].size_gib: 1 -> 2"],
        ),
        ("pod.tolerations", [{"key": "a"}], [], ["pod.tolerations[a]: present -> (not given)"]),
        ("nodes.count", 2, 2.0, []),
        ("pod.x", True, 1, ["pod.x: true -> 1"]),
        ("pod.x", [1, 2.0], [1.0, 2], []),
        ("pod.pull_secret", None, "registry", ["pod.pull_secret: (not given) -> registry"]),
        ("pod.x", {"a": None}, {}, []),
        ("pod.image", NOT_RECORDED, "a", ["pod.image: (not recorded) -> a"]),
        ("staging.files", NOT_RECORDED, [{"name": f"a-{n}"} for n in range(40)], ["staging.files: (not recorded) -> 40 entries"]),
        (
            "node_pool.node_metadata",
            {"user_data": "a"},
            {"user_data": "b"},
            ["cloud-init of the nodes: (not shown) -> (another value, or another order)"],
        ),
    ],
)  # fmt: skip
def test_a_difference_is_said_by_its_name(field: str, was: Any, now: Any, lines: list[str]) -> None:
    assert [line(part) for part in parts_of(field, was, now)] == lines


def test_long_texts_are_shown_where_they_begin_to_differ() -> None:
    (part,) = parts_of("pod.x", "a" * 500 + "b" + "c" * 500, "a" * 500 + "d" + "c" * 500)
    assert "ab" in part["was"] and "ad" in part["now"]
    assert len(part["was"]) <= LONGEST + 3 and len(part["now"]) <= LONGEST + 3


@pytest.mark.parametrize(
    ("field", "was", "now"),
    [
        ("engine.env", {"HF_TOKEN": SECRET}, {"HF_TOKEN": SECRET + "x"}),
        ("engine.env", {"hf_token": SECRET}, {"A": "b"}),
        ("engine.env", {"A": f"https://user:{SECRET}@example.com/x"}, {"A": "b"}),
        ("engine.args", ["--hf-token", SECRET], []),
        ("engine.args", ["--hf-overrides", f"https://a:{SECRET}@b"], ["--hf-token=" + SECRET]),
        ("", {"env": [{"name": "API_KEY", "value": SECRET}]}, {"env": []}),
        ("staging.root", f"https://x/p/{SECRET}/n/t/b/models/o/", "/models"),
    ],
)
def test_no_secret_is_shown(field: str, was: Any, now: Any) -> None:
    for one, other in ((was, now), (now, was), (NOT_RECORDED, was), (NOT_RECORDED, now)):
        assert "hunter2" not in str(parts_of(field, one, other))


def test_what_a_terminal_would_act_on_is_escaped() -> None:
    (part,) = parts_of("engine.env", {"A": "1"}, {"A": "\x1b[31mred\n\u202e\ud800"})
    assert part["now"] == "\\u001b[31mred\\n\\u202e\\ud800"
    (part,) = parts_of("engine.env", {}, {"A\x1b\u202e": "1"})
    assert part["name"] == "variable A\\u001b\\u202e"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.hypothesis
@given(st.sampled_from(["engine.args", "engine.optional", "engine.env", "pod.volumes", "nodes.count", ""]), JSON, JSON)
def test_whatever_was_recorded_is_said_on_one_line(field: str, was: Any, now: Any) -> None:
    assert parts_of(field, now, now) == []
    for part in parts_of(field, was, now):
        assert "\n" not in line(part) and "\x1b" not in line(part)
        assert all(len(text) <= LONGEST + 3 for text in (part["name"], part["was"], part["now"]))
