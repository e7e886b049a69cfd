# SPDX-License-Identifier: GPL-3.0-or-later
"""What is made of the tables in the code: `python -m tests.tools.reference` writes it.

docs/recipe.md, docs/settings.md, sample_recipes/recipe.schema.json and docs/awx_survey.json.

A unit test says when they no longer agree.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tests.tools.collection_finder import install

install()

from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.parameters import (  # noqa: E402
    RECIPE,
    Parameter,
)
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.schema import (  # noqa: E402
    awx_survey,
    recipe_schema,
)
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.settings import (  # noqa: E402
    CLOUD,
    ENDPOINT,
    ENGINE,
    KUBERAY,
    KUBERNETES,
    NODES,
    OUTPUT,
    SOURCES,
)
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.values import expected_of  # noqa: E402

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
  With `recipe_node_pool_size: auto` it is left out.
- A pod takes all GPUs of its node: `recipe_nvidia_gpu_count`, `head_node_num_gpus` and the shape's GPUs are equal.
- The shape has NVIDIA GPUs; AMD is not served yet.
- CPU, memory and ephemeral storage fit on a node of the shape beside what the kubelet keeps for itself; shared memory
  lies inside the pod's memory.
- Ports differ, and are none of those that Ray takes itself (10002 to 19994), nor 8081, where the pods tell each
  other how far they are.
- The model has one source: `par` or `bucket_name` of one `input_object_storage`, or `input_hugging_face`.
- `model_path_in_container` is the `mount_location` or below it; the rest of the path is the prefix of the objects' names.
- Folders that are mounted are absolute, and none lies in another, nor in `/opt/multinode`, `/run/multinode`,
  `/run/secrets/multinode` or `/dev/shm`.
- The volume holds the model whole.
- A secret is never given, but named: a variable such as `HF_TOKEN` in `recipe_container_env` is refused, and belongs into
  `recipe_environment_secrets`.
- `recipe_container_command_args` are further options of vLLM. Those that follow from the recipe (`--tensor-parallel-size`,
  `--port`, `--api-key` and so on) are refused; what the plan does not reckon with is taken with a warning.
- The name becomes a DNS name: lower case, underscores dropped, spaces to hyphens; at most 40 characters (KubeRay makes
  longer names of it, and takes 53). Of two deployments whose names become one, the second is refused.

All faults are said at once, each with its place, what was found, what was expected and what to do.

## Other spellings

- `blueprint_*` is taken for `recipe_*`.
- A recipe for a leader and workers (`recipe_mode: service` with `multinode_num_nodes_to_use_from_shared_pool` and vLLM's
  arguments) is converted, and what changed is said. `ansible-playbook playbooks/plan.yml -e @old.json -e convert_to=new.json`
  writes it down, its secrets too.
- The modes `job`, `update`, `shared_node_pool`, `team` and a `service` on one node are refused.

## For editors and AWX

`sample_recipes/recipe.schema.json` is the same as a JSON Schema: put `"$schema": "./recipe.schema.json"` into a recipe
beside it. `docs/awx_survey.json` is a survey for a job template of AWX; objects and lists are answered as JSON there.
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
        ("Nodes", NODES),
        ("Kubernetes", KUBERNETES),
        ("Model files", SOURCES),
        ("KubeRay", KUBERAY),
        ("Endpoint", ENDPOINT),
        ("Engine", ENGINE),
        ("Output", OUTPUT),
    ]
    return _SETTINGS_HEAD + "\n".join(f"## {title}\n\n{_settings_table(table)}" for title, table in parts)


def schema() -> str:
    """The text of sample_recipes/recipe.schema.json."""
    return _json(recipe_schema())


def survey() -> str:
    """The text of docs/awx_survey.json."""
    return _json(awx_survey())


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _table(table: Iterable[Parameter]) -> str:
    rows = ["| Parameter | Value | Meaning | Becomes |", "|---|---|---|---|"]
    for parameter in table:
        name = f"`{parameter.name}`" + (" (required)" if parameter.required else "")
        value = expected_of(parameter)
        if parameter.default is not None:
            value += f"; default {parameter.default}"
        wire = parameter.wire
        if parameter.not_served:
            wire += f"{'; ' if wire else ''}not served: {parameter.not_served}"
        rows.append(f"| {name} | {value} | {parameter.description} | {wire} |")
    return "\n".join(rows) + "\n"


def _settings_table(table: Iterable[Parameter]) -> str:
    rows = ["| Setting | Value | Default | Meaning |", "|---|---|---|---|"]
    for parameter in table:
        default = "" if parameter.default is None else f"`{parameter.default}`"
        rows.append(f"| `{parameter.name}` | {expected_of(parameter)} | {default} | {parameter.description} |")
    return "\n".join(rows) + "\n"


WRITTEN = {
    DOCS / "recipe.md": recipe,
    DOCS / "settings.md": settings,
    DOCS / "awx_survey.json": survey,
    DOCS.parent / "sample_recipes" / "recipe.schema.json": schema,
}


def main() -> None:
    for path, text in WRITTEN.items():
        path.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
