# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/recipe.md and docs/settings.md out of the tables in the code: `python -m tests.tools.reference` writes them.

A unit test says when they no longer agree.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.tools.collection_finder import install

install()

from ansible_collections.multinode.inference.plugins.module_utils.planning.parameters import RECIPE, Parameter  # noqa: E402
from ansible_collections.multinode.inference.plugins.module_utils.planning.settings import (  # noqa: E402
    CLOUD,
    ENDPOINT,
    ENGINE,
    KUBERAY,
    KUBERNETES,
    OUTPUT,
)
from ansible_collections.multinode.inference.plugins.module_utils.planning.values import expected_of  # noqa: E402

DOCS = Path(__file__).parents[2] / "docs"

_RECIPE_HEAD = """\
# The recipe

What is to be served, as JSON or YAML, given with `-e @recipe.json`: its keys at top level, or below `recipe`. Numbers may
be given as text (`"8000"`). An empty text counts as not given. Below `recipe` a key that is not listed here is a fault; at
top level only one that begins with `recipe_`, `input_`, `output_`, `skip_`, `service_endpoint` or `deployment_`, or that
is a slip away from a known one.

"""
_RULES = """
## Rules

- Head and workers are the same machine: `head_node_*` and `worker_node_*` are equal.
- `num_worker_nodes` is `recipe_node_pool_size` less one: the head is a node too, and holds the first stage of the model.
- A pod takes all GPUs of its node: `recipe_nvidia_gpu_count`, `head_node_num_gpus` and the shape's GPUs are equal.
- CPU, memory and ephemeral storage fit on a node of the shape beside what the kubelet keeps for itself.
- Ports differ, and are none of those that Ray takes itself (52365, 10002 to 19999).
- `model_path_in_container` is below `mount_location`; the rest of the path is the prefix of the objects' names.
- The volume holds the model whole.
- The name becomes a DNS name: lower case, underscores dropped, spaces to hyphens; at most 40 characters.

All faults are said at once, each with its place, what was found, what was expected and what to do.
"""
_SETTINGS_HEAD = """\
# Platform settings

Where it is to be served: extra variables at top level, beside the recipe (`-e @settings.yml`, or a survey in AWX). On
Oracle Cloud `oke_cluster_id` and a way to sign in are enough. Every default of the product is here and nowhere else.

"""


def recipe() -> str:
    """The text of docs/recipe.md."""
    text = _RECIPE_HEAD + _table(RECIPE)
    for parameter in RECIPE:
        if parameter.properties:
            entry = "an entry of " if parameter.kind == "objects" else ""
            text += f"\n## In {entry}`{parameter.name}`\n\n" + _table(parameter.properties)
    return text + _RULES


def settings() -> str:
    """The text of docs/settings.md."""
    parts = [
        ("Oracle Cloud", CLOUD),
        ("Kubernetes", KUBERNETES),
        ("KubeRay", KUBERAY),
        ("Endpoint", ENDPOINT),
        ("Engine", ENGINE),
        ("Output", OUTPUT),
    ]
    return _SETTINGS_HEAD + "\n".join(f"## {title}\n\n{_settings_table(table)}" for title, table in parts)


def _table(table: Iterable[Parameter]) -> str:
    rows = ["| Parameter | Value | Meaning | Becomes |", "|---|---|---|---|"]
    for parameter in table:
        name = f"`{parameter.name}`" + (" (required)" if parameter.required else "")
        value = expected_of(parameter)
        if parameter.default is not None:
            value += f"; default {parameter.default}"
        rows.append(f"| {name} | {value} | {parameter.description} | {parameter.wire} |")
    return "\n".join(rows) + "\n"


def _settings_table(table: Iterable[Parameter]) -> str:
    rows = ["| Setting | Value | Default | Meaning |", "|---|---|---|---|"]
    for parameter in table:
        default = "" if parameter.default is None else f"`{parameter.default}`"
        rows.append(f"| `{parameter.name}` | {expected_of(parameter)} | {default} | {parameter.description} |")
    return "\n".join(rows) + "\n"


def main() -> None:
    (DOCS / "recipe.md").write_text(recipe(), encoding="utf-8")
    (DOCS / "settings.md").write_text(settings(), encoding="utf-8")


if __name__ == "__main__":
    main()
