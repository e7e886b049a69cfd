# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The plan as a person reads it: lines of text, at most 100 columns."""

from __future__ import annotations

import json
import re
import shlex
import textwrap
from collections.abc import Mapping
from typing import Any

from ...fault import Fault
from ..changes import LIVE, NEW_POOL, RESTART
from ..comparison.words import line
from ..types import Answer, Plan

COLUMNS = 100
_LABEL = 13
_BAR = 40
# Parts that the changes of a plan show; the plan itself has them all.
MOST_PARTS = 40
GIB = 2**30
# Of an OCID the kind and the last characters tell one from another.
_OCID = re.compile(r"\b(ocid1\.[a-z0-9]+)\.[A-Za-z0-9.\-_]*?([A-Za-z0-9]{6})\b(?![A-Za-z0-9.\-_])")
_LATER = (("restart", "a restart"), ("lost_pod", "a lost pod"), ("changed_template", "a changed pod"))


def readable_count(count: float) -> str:
    """Return an estimate as a person counts: 3.4, 12, 350, 37,000."""
    if count < 10:
        return f"{count:.1f}".removesuffix(".0")
    return f"{float(f'{count:.2g}'):,.0f}"


def describe(plan: Plan) -> list[str]:
    """Return the whole plan: where each layer goes, memory, price, minutes, choices and warnings."""
    lines = [
        *_head(plan),
        *_memory(plan),
        *_field("Endpoint", exposure(plan)),
        *_price(plan),
        *_minutes(plan),
        *_changes(plan),
    ]
    pod, image = plan["pod"], plan["image"]
    if "vllm" in image:
        of = f" (Ray {image['ray']}, vLLM {image['vllm']}, CUDA {image['cuda']}, driver {image['least_driver']} or newer)"
    else:
        of = ""
    lines += _field("Image", pod["image"] + of)
    lines += _field(
        "Pod",
        f"{gpus(pod['gpus'])}, {pod['cpu']} vCPU, {pod['memory_gib']} GiB of memory, "
        f"{pod['shared_memory_mib'] / 1024:g} of them shared",
    )
    lines += _field("Model files", _cache(plan))
    lines += _field("vLLM", " ".join(plan["engine"]["args"]))
    limit = plan["limit"]
    lines += _field("Limit", f"{gpus(limit['gpus'])} of {limit['name'] or 'the limit that counts this shape'}")
    if plan["answer"]:
        lines += _field("Asked", of_vllm(plan["answer"]))
    for number, choice in enumerate(plan["choices"]):
        lines += _field("" if number else "Chosen", f"{choice['field']}: {_value(choice['value'])} ({choice['why']})")
    return lines + _warnings(plan)


def describe_shortly(plan: Plan) -> list[str]:
    """Return what has to be known before money is spent."""
    return [
        *_head(plan),
        *_field("Endpoint", exposure(plan)),
        *_price(plan),
        *_minutes(plan, whole=False),
        *_changes(plan),
        *_warnings(plan),
    ]


def bill(plan: Plan) -> str:
    """Return what a plan's own nodes cost and how to end it; "" where the deployment uses nodes of somebody else's."""
    if plan["node_pool"] is None:
        return ""
    nodes, name, price = plan["nodes"], plan["deployment"]["deployment_name"], plan["expected"]["usd_per_hour"]
    words = "bill" if price is None else f"cost {price:.2f} US dollars an hour with their volumes"
    return (
        f"{nodes['count']} x {nodes['shape']} {words} until undeploy: "
        f"ansible-playbook multinode.inference.undeploy -e deployment_name={shlex.quote(name)} -e @settings.yml"
    )


def of_vllm(answer: Answer) -> str:
    """Return what vLLM said of the plan itself, and what it could not say."""
    said = f"from vLLM {answer['vllm']} itself: {', '.join(answer['says']) or 'nothing'}"
    return f"{said}; {answer['lacks']}" if answer["lacks"] else said


def exposure(plan: Plan) -> str:
    """Return who reaches the endpoint, and by what."""
    endpoint = plan["endpoint"]
    if endpoint["exposure"] == "none":
        return "inside the cluster only"
    words = [endpoint["exposure"]]
    if endpoint["exposure"] == "load_balancer":
        words.append("public" if endpoint["public"] else "internal")
        words.append(f"open to {', '.join(endpoint['source_ranges']) or 'every address that reaches it'}")
    return ", ".join([*words, "plain HTTP" if endpoint["tls"] == "none" else f"HTTPS ({endpoint['tls']})"])


def shorten(text: str) -> str:
    """Return the text with OCIDs cut to their kind and their last characters."""
    return _OCID.sub(r"\1...\2", text)


def layer_range(stage: Mapping[str, Any]) -> str:
    """Return the layers of a stage as people write them."""
    first, last = stage["first_layer"], stage["first_layer"] + stage["layers"] - 1
    return str(first) if first == last else f"{first}-{last}"


def memory_parts(stage: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Return what lies in one GPU, in bytes: weights, overhead and the KV cache that fills the rest."""
    return [
        ("weights", stage["weights_bytes"]),
        ("overhead", stage["overhead_bytes"]),
        ("KV cache", max(0, stage["available_bytes"])),
    ]


def size(count: int) -> str:
    """Return a number of bytes as people write it."""
    return f"{count / 1e9:.1f} GB" if count >= 5e7 else f"{count / 1e6:.1f} MB"


def gpus(count: int) -> str:
    """Return a number of GPUs in words."""
    return "1 GPU" if count == 1 else f"{count} GPUs"


def _field(label: str, text: str, indent: int = 0) -> list[str]:
    """Return `label` and the text beside it, wrapped; `indent`: further columns in front of the text."""
    column = _LABEL + indent
    wrapped = textwrap.wrap(shorten(text), COLUMNS - column, break_on_hyphens=False) or [""]
    return [f"{label if number == 0 else '':<{column}}{words}".rstrip() for number, words in enumerate(wrapped)]


def _head(plan: Plan) -> list[str]:
    nodes, parallelism, memory, model = plan["nodes"], plan["parallelism"], plan["memory"], plan["model"]
    lines = _field("Deployment", f"{plan['deployment']['name']} in namespace {plan['deployment']['namespace']}")
    lines += _field(
        "Model", f"{model['served_names'][0]}: {model['architecture']}, {size(model['bytes'])}, {model['path']}"
    )
    lines += _field(
        "Nodes",
        f"{nodes['count']} x {nodes['shape']}: tensor parallel {parallelism['tensor']} in a node, "
        f"pipeline parallel {parallelism['pipeline']} over them",
    )
    if memory and memory["kv_tokens"]:
        lines += _field(
            "Context",
            f"{memory['context']:,} tokens, {readable_count(memory['concurrent'])} such requests at once "
            f"({memory['kv_tokens']:,} tokens of KV cache)",
        )
    return lines


def _memory(plan: Plan) -> list[str]:
    memory, held = plan["memory"], plan["expected"]["bytes_per_node"]
    if not memory:
        return []
    lines = ["", f"{'Stage':<13}{'Layers':<9}{'Disk':>9}  {'Memory of each GPU':<{_BAR + 2}}  {'KV tokens':>13}"]
    known = any(stage["usable_bytes"] for stage in memory["per_gpu"])
    for stage in memory["per_gpu"]:
        who = f"{stage['stage']} " + ("head" if stage["stage"] == 0 else "worker")
        disk = size(held[stage["stage"]])
        meter = f"[{_bar(stage)}]" if known else "not known"
        lines.append(
            f"{who:<13}{layer_range(stage):<9}{disk:>9}  {meter:<{_BAR + 2}}  {stage['kv_tokens']:>13,}".rstrip()
        )
        parts = ", ".join(f"{name} {held_bytes / GIB:.1f}" for name, held_bytes in memory_parts(stage))
        total = f" of {stage['usable_bytes'] / GIB:.1f} GiB" if known else " GiB"
        lines.append(f"{'':<33}{parts}{total}")
    return [*lines, f"{'':<33}# weights   + overhead (an estimate)   = KV cache", ""]


def _cache(plan: Plan) -> str:
    """Where the model's files lie, and when they are read again."""
    cache = plan["pod"]["model_cache"]
    shares = " of its stage" if plan["staging"]["by_stage"] else ""
    if cache["kind"] == "volume":
        return f"on a block volume of each pod, {cache['size_gib']} GiB; a replaced pod reads those{shares} again"
    if cache["kind"] == "node":
        # A pool of the deployment's own has a node for each pod and no other.
        there = "finds them there" if plan["node_pool"] else "finds them on the same node"
        return f"in {cache['path']} of each node; a replaced pod {there}, another node reads those{shares} again"
    return "on a file system that all nodes share, filled once; neither a new pod nor a new node reads them again"


def _bar(stage: Mapping[str, Any]) -> str:
    """Return what vLLM may use of a GPU as a bar."""
    usable = stage["usable_bytes"] or 1
    weights, overhead, _cache = (round(part * _BAR / usable) for _name, part in memory_parts(stage))
    weights = min(_BAR, max(1, weights))
    overhead = min(_BAR - weights, max(1, overhead))
    return "#" * weights + "+" * overhead + "=" * (_BAR - weights - overhead)


def _price(plan: Plan) -> list[str]:
    cost = plan["expected"]["cost"]
    parts = [
        ("nodes", cost["nodes"]),
        ("boot volumes", cost["boot_volumes"]),
        ("model volumes", cost["model_volumes"]),
        ("load balancer", cost["load_balancer"]),
    ]
    detail = ", ".join(f"{name} {value:.2f}" for name, value in parts if value)
    if cost["total"] is None:
        return _field("Price", f"not known for this shape; beside the nodes an hour: {detail} USD")
    return _field("Price", f"{cost['total']:.2f} USD an hour: {detail} (list of {cost['price_date']})")


def _minutes(plan: Plan, whole: bool = True) -> list[str]:
    minutes = plan["expected"]["minutes"]
    phases = ", ".join(
        f"{name} {minutes[name]:g}"
        for name in ("nodes", "pods", "staging", "ray", "engine", "token")
        if minutes.get(name)
    )
    later = ", ".join(f"{words} {minutes[name]:g}" for name, words in _LATER)
    if plan["node_pool"] is not None:
        later += f", a lost node {minutes['lost_node']:g}"
    lines = _field("Minutes", f"about {minutes['total']:g} to the first token: {phases}")
    return [*lines, *_field("", f"later: {later}")] if whole else lines


def _changes(plan: Plan) -> list[str]:
    """Return what applying the plan means for the existing deployment: part by part, from what to what."""
    existing = plan["existing"]
    if not existing:
        return []
    minutes = plan["expected"]["minutes"]
    how = " by deleting the RayCluster, since this KubeRay has no upgradeStrategy" if existing["by_delete"] else ""
    means = (
        (LIVE, "live, the group keeps serving"),
        (
            RESTART,
            f"restart, the pods are recreated{how}: about {minutes['changed_template']:g} minutes until it serves",
        ),
        (
            NEW_POOL,
            f"new_pool, only new nodes get it: undeploy and deploy take about {minutes['total']:g} minutes",
        ),
    )
    lines: list[str] = []
    left = MOST_PARTS
    for change_class, words in means:
        found = list(
            dict.fromkeys(
                line(part) for entry in existing["changes"] if entry["class"] == change_class for part in entry["parts"]
            )
        )
        if not found:
            continue
        lines += _field("" if lines else "Changes", words)
        for text in found[:left]:
            lines += _field("", text, 2)
        if found[left:]:
            lines += _field("", f"and {len(found[left:])} more", 2)
        left = max(0, left - len(found))
    return lines or _field("Changes", "none: the deployment is up to date")


def _warnings(plan: Plan) -> list[str]:
    lines = []
    for warning in plan["warnings"]:
        lines += _field("Warning", Fault(**warning).line())
    return lines


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
