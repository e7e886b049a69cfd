# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The plan as one page of HTML with its drawings inside: nothing is loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from ...fault import Fault
from ..types import Existing, Plan
from .markup import document
from .markup import escaped as _text
from .text import GIB, MOST_PARTS, exposure, gpus, layer_range, memory_parts, of_vllm, readable_count, size

_WIDTH = 960
_CLASS = {"weights": "weights", "overhead": "overhead", "KV cache": "cache"}
_COLUMNS = 4
_CARD_WIDTH, _CARD_HEIGHT, _GAP = 222, 202, 24
_BAR_HEIGHT = 84


def page(plan: Plan) -> str:
    """Return the page. It is well-formed XML, too, and every text in it is escaped."""
    name = plan["deployment"]["name"]
    body = [
        f"<h1>{_text(name)}</h1>",
        f'<p class="soft">{_text(_subtitle(plan))}</p>',
        _section("Nodes, layers and memory", _nodes(plan) + _legend(plan)),
        _section("Layers", _layers(plan)),
        _section("Price", _cost(plan)),
        _section("Minutes to the first token", _minutes(plan)),
        _section("What runs", _runs(plan)),
        _section("What changes", _changes(plan["existing"])) if plan["existing"] else "",
        _section("Chosen", _choices(plan)) if plan["choices"] else "",
        _section("Warnings", _warnings(plan)) if plan["warnings"] else "",
    ]
    return document(f"{name}: plan", body)


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>\n{content}\n</section>"


def _subtitle(plan: Plan) -> str:
    nodes, model = plan["nodes"], plan["model"]
    return (
        f"{model['served_names'][0]} ({model['architecture']}, {size(model['bytes'])}) "
        f"on {nodes['count']} x {nodes['shape']}"
    )


def _svg(height: float, label: str, parts: Iterable[str]) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="{_text(label)}">' + "".join(parts) + "</svg>"
    )


def _box(x: float, y: float, width: float, height: float, kind: str, tip: str = "") -> str:
    title = f"<title>{_text(tip)}</title>" if tip else ""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}" rx="3" '
        f'class="{kind}">{title}</rect>'
    )


def _label(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{_text(text)}</text>'


def _nodes(plan: Plan) -> str:
    """A card for each node: its layers, its disk, and each GPU as a column filled with what lies in it."""
    count, held = plan["nodes"]["count"], plan["expected"]["bytes_per_node"]
    stages = plan["memory"]["per_gpu"] if plan["memory"] else []
    parts = []
    for number in range(count):
        column, row = number % _COLUMNS, number // _COLUMNS
        x, y = column * (_CARD_WIDTH + _GAP), row * (_CARD_HEIGHT + _GAP)
        if column:
            middle = y + _CARD_HEIGHT / 2
            parts.append(f'<line x1="{x - _GAP}" y1="{middle}" x2="{x}" y2="{middle}" class="edge" />')
        role = "head" if number == 0 else f"worker {number}"
        parts += [
            _box(x, y, _CARD_WIDTH, _CARD_HEIGHT, "card"),
            _label(x + 12, y + 22, f"Stage {number}: {role}", "title"),
        ]
        if number < len(stages):
            stage = stages[number]
            parts.append(_label(x + 12, y + 40, f"layers {layer_range(stage)}, {size(held[number])} on disk"))
            parts += _gpus(stage, plan["nodes"]["gpus"], x + 12, y + 52)
    rows = -(-count // _COLUMNS)
    return _svg(rows * (_CARD_HEIGHT + _GAP), f"{count} nodes with their GPUs and layers", parts)


def _gpus(stage: Mapping[str, Any], count: int, x: float, y: float) -> list[str]:
    usable = stage["usable_bytes"]
    wide = (_CARD_WIDTH - 24 + 6) / count
    parts = []
    for gpu in range(count):
        left = x + gpu * wide
        parts.append(_box(left, y, wide - 6, _BAR_HEIGHT, "free", f"GPU {gpu}"))
        bottom = y + _BAR_HEIGHT
        for name, held in memory_parts(stage) if usable else []:
            height = min(held / usable, 1) * _BAR_HEIGHT
            bottom -= height
            parts.append(_box(left, bottom, wide - 6, height, _CLASS[name], f"GPU {gpu}: {name} {held / GIB:.1f} GiB"))
    weights, overhead, cache = (held / GIB for _name, held in memory_parts(stage))
    return [
        *parts,
        _label(x, y + _BAR_HEIGHT + 18, f"weights {weights:.1f} GiB, other {overhead:.1f} GiB", "soft"),
        _label(x, y + _BAR_HEIGHT + 35, f"KV cache {cache:.1f} GiB", "soft"),
        _label(x, y + _BAR_HEIGHT + 52, f"{stage['kv_tokens']:,} tokens", "soft"),
    ]


def _legend(plan: Plan) -> str:
    memory = plan["memory"]
    names = [("weights", "weights"), ("overhead", "activations, graphs, CUDA (an estimate)"), ("cache", "KV cache")]
    parts = []
    for number, (kind, words) in enumerate(names):
        parts += [_box(number * 300, 4, 12, 12, kind), _label(number * 300 + 18, 14, words)]
    text = ""
    if memory and memory["kv_tokens"]:
        usable = memory["per_gpu"][0]["usable_bytes"]
        text = (
            f"<p>Of each GPU vLLM may use {usable / GIB:.1f} GiB. The KV cache holds "
            f"{memory['kv_tokens']:,} tokens: {readable_count(memory['concurrent'])} requests of {memory['context']:,} at once.</p>"
        )
    return _svg(20, "legend", parts) + text


def _layers(plan: Plan) -> str:
    """All layers in one row, shared out to the stages."""
    per_stage = plan["parallelism"]["layers_per_stage"]
    total = sum(per_stage)
    parts, first = [], 0
    for number, count in enumerate(per_stage):
        x, width = first / total * _WIDTH, count / total * _WIDTH
        parts.append(_box(x + 1, 0, width - 2, 26, "weights" if number % 2 == 0 else "overhead", f"stage {number}"))
        if width > 40:
            parts.append(_label(x + width / 2, 44, f"{count} layers", "soft", "middle"))
        first += count
    return _svg(50, f"{total} layers over {len(per_stage)} stages", parts)


def _cost(plan: Plan) -> str:
    cost = plan["expected"]["cost"]
    rows = [(key.replace("_", " "), cost[key]) for key in ("nodes", "boot_volumes", "model_volumes", "load_balancer")]
    largest = max((value or 0 for _name, value in rows), default=0) or 1
    parts = []
    for number, (name, value) in enumerate(rows):
        y = number * 26
        shown = "not known" if value is None else f"{value:.2f} USD"
        parts += [
            _label(0, y + 15, name),
            _box(130, y + 3, (value or 0) / largest * 680, 16, "weights"),
            _label(_WIDTH, y + 15, shown, "", "end"),
        ]
    total = "not known for this shape" if cost["total"] is None else f"{cost['total']:.2f} USD an hour"
    note = f"<p>{_text(total)} <span class='soft'>(list prices of {_text(cost['price_date'])})</span></p>"
    return note + _svg(len(rows) * 26, "price an hour by part", parts)


def _minutes(plan: Plan) -> str:
    minutes = plan["expected"]["minutes"]
    total, x, parts = minutes["total"] or 1, 0.0, []
    names = ("nodes", "pods", "staging", "ray", "engine", "token")
    for number, name in enumerate(names):
        width = minutes[name] / total * _WIDTH
        kind = ("weights", "overhead", "cache")[number % 3]
        parts.append(_box(x, 0, max(width - 1, 0), 26, kind, f"{name}: {minutes[name]:g} minutes"))
        if width > 60:
            parts.append(_label(x + width / 2, 44, f"{name} {minutes[name]:g}", "soft", "middle"))
        x += width
    phases = ", ".join(f"{name} {minutes[name]:g}" for name in names if minutes[name])
    later = (
        f"A restart takes about {minutes['restart']:g} minutes, a lost pod {minutes['lost_pod']:g}, "
        f"a lost node {minutes['lost_node']:g}, a changed pod {minutes['changed_template']:g}."
    )
    return f"<p>About {total:g}: {phases}. {later}</p>" + _svg(50, "minutes by phase", parts)


def _table(rows: Sequence[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><th>{_text(name)}</th><td>{value}</td></tr>" for name, value in rows)
    return f"<table>{cells}</table>"


def _runs(plan: Plan) -> str:
    pod, limit = plan["pod"], plan["limit"]
    return _table(
        [
            ("image", f"<code>{_text(pod['image'])}</code>"),
            ("vLLM", f"<code>{_text(' '.join(plan['engine']['args']))}</code>"),
            ("pod", _text(f"{gpus(pod['gpus'])}, {pod['cpu']} vCPU, {pod['memory_gib']} GiB of memory")),
            ("endpoint", _text(exposure(plan))),
            ("limit", _text(f"{gpus(limit['gpus'])} of {limit['name'] or 'the limit that counts this shape'}")),
            ("model", f"<code>{_text(plan['model']['path'])}</code>"),
            *([("asked", _text(of_vllm(plan["answer"])))] if plan["answer"] else []),
        ]
    )


def _changes(existing: Existing) -> str:
    parts = [(part, entry["class"]) for entry in existing["changes"] for part in entry["parts"]]
    rows = [(part["name"], f"{_text(part['was'])} &#8594; {_text(part['now'])} ({_text(of)})") for part, of in parts]
    if len(rows) > MOST_PARTS:
        rows = [*rows[:MOST_PARTS], ("and more", f"{len(rows) - MOST_PARTS}")]
    if existing["by_delete"]:
        rows.append(("the RayCluster", "deleted and recreated: this KubeRay has no upgradeStrategy"))
    return _table(rows) if rows else "<p>Nothing: the deployment is up to date.</p>"


def _choices(plan: Plan) -> str:
    return _table([(entry["field"], f"{_text(entry['value'])} ({_text(entry['why'])})") for entry in plan["choices"]])


def _warnings(plan: Plan) -> str:
    lines = [f'<p class="warn">{_text(Fault(**entry).line())}</p>' for entry in plan["warnings"]]
    return "\n".join(lines)
