# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever reads data from outside has a property test: a module that begins to read some has to get one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
REPOSITORY = TESTS.parent
# How a module comes by data from outside.
READS = re.compile(
    r"\b(read_json|json\.loads|b64decode|all_pages|as_data|yaml\.safe_load(_all)?|secret_values|read_secret"
    r"|kubernetes\.(items|get|metadata|read))\("
)
# What these read was written by the collection itself, or by Ansible, on this machine.
OWN = {
    "plugins.plugin_utils.action": "the task's arguments and results",
    "plugins.plugin_utils.kubernetes_writes": "the manifest of an installed collection",
    "plugins.plugin_utils.vllm_python.asking": "what the collection's own program prints",
    "plugins.plugin_utils.vllm_python.stage_models": "a file that the collection wrote",
}
# Actions have what they read from these modules; whatever leaves an action all the same is a fault of its result.
ACTIONS = "plugins.action."


def _imported(text: str) -> set[str]:
    """The collection's modules that a test imports, by their dotted names from `plugins` on."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module and ".inference." in node.module:
            module = node.module.partition(".inference.")[2]
            found |= {module, *(f"{module}.{name.name}" for name in node.names)}
    return found


def test_every_reader_of_outside_data_has_a_property_test() -> None:
    readers = {
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
        for path in (REPOSITORY / "plugins").rglob("*.py")
        if READS.search(path.read_text(encoding="utf-8"))
    }
    tested: set[str] = set()
    for path in TESTS.rglob("test_*.py"):
        text = path.read_text(encoding="utf-8")
        if "@given(" in text:
            tested |= _imported(text)
    assert not sorted(name for name in readers - tested - set(OWN) if not name.startswith(ACTIONS))
    assert set(OWN) <= readers
