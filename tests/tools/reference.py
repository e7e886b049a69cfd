# SPDX-License-Identifier: GPL-3.0-or-later
"""What is made of the tables in the code: `python -m tests.tools.reference` writes it.

docs/recipe.md, docs/settings.md, sample_recipes/recipe.schema.json, the surveys for AWX, and in docs/architecture.md the
table of the plan.

A unit test says when they no longer agree.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args, get_type_hints, is_typeddict

from tests.tools.collection_finder import install

install()

from ansible_collections.multinode.inference.plugins.module_utils.core.plan.types import Plan  # noqa: E402
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.parameters import (  # noqa: E402
    RECIPE,
    Parameter,
)
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.schema import (  # noqa: E402
    awx_recipe_file_survey,
    awx_survey,
    recipe_schema,
)
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.settings import (  # noqa: E402
    BENCHMARK,
    CLOUD,
    ENDPOINT,
    ENGINE,
    KEYS,
    KUBERAY,
    KUBERNETES,
    MONITORING,
    NODES,
    OUTPUT,
    SOURCES,
)
from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.values import expected_of  # noqa: E402

DOCS = Path(__file__).parents[2] / "docs"

_RECIPE_HEAD = """\
# The recipe

A recipe says what to serve. The [README](../README.md#use-it-on-a-real-account) lists samples to begin with. A recipe is given in
one of two ways:

| way | for | what it may contain |
|---|---|---|
| `-e @recipe.json`, JSON or YAML | recipes of your own | parameters at top level or below `recipe`, settings, other variables |
| `-e recipe_file=recipe.json`, JSON only | recipes from others | parameters only |

**Whoever writes a file that you give with `-e @` may run code on the controller.** Ansible takes every key of it as a variable,
its own `ansible_*` variables among them, and some [settings](settings.md) name programs and files (`helm_binary`,
`kuberay_chart_ref`, `result_file`). The collection cannot prevent this.

`recipe_file` is read as data: a path, relative to the working directory, or the JSON itself, at most 1 MiB. Settings in it are
a fault; give yours with `-e`. A recipe key may not be given in both ways. What a recipe can do even so: it names the image and
the model that run in your cluster with your GPUs, and the plan warns of each protection that it switches off.

Numbers may be given as text (`"8000"`). Empty text counts as not given. Below `recipe` and in `recipe_file`, a key that is not
listed here is a fault; at top level only one that begins with `recipe_`, `input_`, `output_`, `skip_`, `service_endpoint` or
`deployment_`, or that is one typo away from a known key. A name that begins with `endpoint_`, `node_pool_`, `kuberay_`, `benchmark_` or
`logs_` and is no setting is a fault too.

"""
_RULES = """
## Rules

- Head and workers are the same machine: `head_node_*` and `worker_node_*` are equal.
- `num_worker_nodes` is `recipe_node_pool_size` minus one: the head is a node too, and holds the first stage of the model.
  With `recipe_node_pool_size: auto`, leave it out.
- A pod takes all GPUs of its node: `recipe_nvidia_gpu_count`, `head_node_num_gpus` and the shape's GPUs are equal.
- The shape has NVIDIA GPUs; AMD is not supported yet.
- CPU, memory and ephemeral storage fit on a node of the shape beside what the kubelet reserves; shared memory counts
  towards the pod's memory.
- Ports differ, and none is one that Ray uses itself (10002 to 19994) or 8081, the group's status port.
- The model has one source: `par` or `bucket_name` of one `input_object_storage`, or `input_hugging_face`.
- `model_path_in_container` is the `mount_location` or below it; the rest of the path is the prefix of the object names.
- Mounted folders are absolute. None lies in another, in a folder of the deployment (`/opt/multinode`, `/run/multinode`,
  `/run/secrets/multinode`, `/tmp/ray`, `/dev/shm`) or in `/proc`, `/sys` or `/dev`, and none covers a folder that the image
  needs, such as `/usr`.
- `local_filesystem` uses only folders of the nodes that the setting `local_filesystem_folders` allows.
- The volume holds the whole model.
- A secret is never given, but named. Variables such as `HF_TOKEN` or `DATABASE_URL` in `recipe_container_env`, values that
  look like a credential, and URLs with a password are refused; name a Secret in `recipe_environment_secrets`.
- `recipe_container_command_args` are further options of vLLM. Those that the recipe sets itself (`--tensor-parallel-size`,
  `--port`, `--api-key` and so on) are refused; those that the plan does not account for are accepted with a warning.
- The name becomes a DNS name: lower case, without underscores, hyphens for spaces; at most 40 characters (KubeRay derives
  longer names from it, and accepts 53). Of two deployments whose names become the same, the second is refused.

All faults of the recipe are reported at once, then those that show only with the plan, each with its place, what was found, what was
expected and what to do.

## Other spellings

- `blueprint_*` is read as `recipe_*`.
- A recipe for a leader and workers (`recipe_mode: service` with `multinode_num_nodes_to_use_from_shared_pool` and vLLM's
  arguments) is converted, and every change is reported. `ansible-playbook playbooks/plan.yml -e @old.json -e convert_to=new.json`
  writes the converted recipe to a file, secrets included. RDMA is a setting here: `rdma: host_network`.
- The modes `job`, `update`, `shared_node_pool`, `team` and a `service` on one node are refused.

## For editors and AWX

`sample_recipes/recipe.schema.json` is the same as a JSON Schema: put `"$schema": "./recipe.schema.json"` into a recipe
beside it. There are two surveys for an AWX job template, both safe for answers from others, since an answer is a value and
never a variable's name: `docs/awx_survey.json` asks for each parameter (objects and lists as JSON), and
`docs/awx_survey_recipe_file.json` for a whole recipe as one text.
"""
_SETTINGS_HEAD = """\
# Platform settings

Settings say where and how to serve: extra variables at top level, beside the recipe (`-e @settings.yml`, or a survey in AWX).
On Oracle Cloud `oke_cluster_id` and a way to sign in are enough. Every default of the product is here and nowhere else.

Settings are trusted: some name programs that run on the controller, or files that are written there. A recipe from others is
given as [`recipe_file`](recipe.md), which cannot contain settings.

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
        ("API keys", KEYS),
        ("Engine", ENGINE),
        ("Monitoring and waiting", MONITORING),
        ("Benchmark", BENCHMARK),
        ("Output", OUTPUT),
    ]
    return _SETTINGS_HEAD + "\n".join(f"## {title}\n\n{_settings_table(table)}" for title, table in parts)


def architecture() -> str:
    """The text of docs/architecture.md: as it is, with the table of the plan's keys as its types have them."""
    rows = ["| Key of the plan | Holds | Keys |", "|---|---|---|"]
    for name, annotated in get_type_hints(Plan, include_extras=True).items():
        kind, meaning = get_args(annotated)
        rows.append(f"| `{name}` | {meaning} | {', '.join(_keys(kind))} |")
    table = re.compile(r"^\| Key of the plan .*\n(?:\|.*\n)+", re.MULTILINE)
    text, count = table.subn(
        lambda _found: "\n".join(rows) + "\n", (DOCS / "architecture.md").read_text(encoding="utf-8")
    )
    if count != 1:
        raise SystemExit("docs/architecture.md has no table of the plan's keys, or more than one")
    return text


def _keys(kind: Any) -> Iterable[str]:
    """The keys of a part of the plan, where it is one of its own."""
    parts = [part for part in (kind, *get_args(kind)) if is_typeddict(part)]
    return (f"`{key}`" for part in parts for key in get_type_hints(part))


def schema() -> str:
    """The text of sample_recipes/recipe.schema.json."""
    return _json(recipe_schema())


def survey() -> str:
    """The text of docs/awx_survey.json."""
    return _json(awx_survey())


def recipe_file_survey() -> str:
    """The text of docs/awx_survey_recipe_file.json."""
    return _json(awx_recipe_file_survey())


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
            wire += f"{'; ' if wire else ''}not supported: {parameter.not_served}"
        rows.append(f"| {name} | {value} | {parameter.description} | {wire} |")
    return "\n".join(rows) + "\n"


def _settings_table(table: Iterable[Parameter]) -> str:
    rows = ["| Setting | Value | Default | Meaning |", "|---|---|---|---|"]
    for parameter in table:
        default = "" if parameter.default is None else f"`{parameter.default}`"
        rows.append(f"| `{parameter.name}` | {expected_of(parameter)} | {default} | {parameter.description} |")
    return "\n".join(rows) + "\n"


WRITTEN = {
    DOCS / "architecture.md": architecture,
    DOCS / "recipe.md": recipe,
    DOCS / "settings.md": settings,
    DOCS / "awx_survey.json": survey,
    DOCS / "awx_survey_recipe_file.json": recipe_file_survey,
    DOCS.parent / "sample_recipes" / "recipe.schema.json": schema,
}


def main() -> None:
    for path, text in WRITTEN.items():
        path.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
