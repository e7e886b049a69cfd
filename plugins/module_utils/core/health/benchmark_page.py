# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A benchmark as one page of HTML: curves over the requests at once, and the table. Nothing is loaded from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..plan.presentation.markup import document, escaped

_WIDTH, _HEIGHT = 960, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 20, 16, 34
_LINES = 4
# Title, unit, and each curve: its figure, its name and its color in the page's style.
_CURVES: tuple[tuple[str, str, tuple[tuple[str, str, str], ...]], ...] = (
    ("Tokens a second, of all requests", "tokens/s", (("tokens_per_second", "generated", "--weights"),)),
    (
        "Time to the first token",
        "ms",
        (("ttft_ms", "median", "--weights"), ("ttft_p99_ms", "99 of 100 within", "--warn")),
    ),
    (
        "Time of each token after the first",
        "ms",
        (("tpot_ms", "median", "--weights"), ("tpot_p99_ms", "99 of 100 within", "--warn")),
    ),
)
_COLUMNS = (
    ("concurrency", "requests"),
    ("at_once", "at once"),
    ("ttft_ms", "first token, ms"),
    ("ttft_p99_ms", "p99"),
    ("tpot_ms", "a token, ms"),
    ("tpot_p99_ms", "p99"),
    ("itl_ms", "between tokens, ms"),
    ("itl_p99_ms", "p99"),
    ("tokens_per_second", "tokens/s"),
    ("requests_per_second", "requests/s"),
    ("failed", "failed"),
)


def benchmark_page(name: str, subtitle: str, measured: Sequence[Mapping[str, Any]], lines: Sequence[str]) -> str:
    """Return the page of what each load came to (`health.benchmark.read_log`) with the remarks in `lines`."""
    good = [entry for entry in measured if "error" not in entry]
    body = [f"<h1>{escaped(name)}</h1>", f'<p class="soft">{escaped(subtitle)}</p>']
    body += [f"<p>{escaped(line)}</p>" for line in lines]
    body += [_curves(title, unit, curves, good) for title, unit, curves in _CURVES if good]
    body.append(_table(good))
    body += [
        f'<p class="warn">{escaped(str(entry["concurrency"]))} requests at once: {escaped(entry["error"])}</p>'
        for entry in measured
        if "error" in entry
    ]
    return document(f"{name}: benchmark", body)


def _curves(title: str, unit: str, curves: Sequence[tuple[str, str, str]], good: Sequence[Mapping[str, Any]]) -> str:
    """Draw the curves over the requests at once, whose axis is logarithmic: each load is four times the one before."""
    top = max((entry[figure] for entry in good for figure, _name, _color in curves), default=0) or 1
    most = max(entry["concurrency"] for entry in good)
    wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x(concurrency: float) -> float:
        return _LEFT + (wide * math.log(concurrency) / math.log(most) if most > 1 else wide / 2)

    def y(value: float) -> float:
        return _TOP + high * (1 - value / top)

    parts = []
    for number in range(_LINES + 1):
        value = top * number / _LINES
        parts.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}" class="edge" />'
        )
        parts.append(f'<text x="{_LEFT - 8}" y="{y(value) + 4:.1f}" class="soft" text-anchor="end">{value:,.4g}</text>')
    for entry in good:
        label = f"{entry['concurrency']}"
        parts.append(
            f'<text x="{x(entry["concurrency"]):.1f}" y="{_HEIGHT - 12}" class="soft" text-anchor="middle">{label}</text>'
        )
    for position, (figure, words, color) in enumerate(curves):
        points = [(x(entry["concurrency"]), y(entry[figure]), entry) for entry in good]
        line = " ".join(f"{left:.1f},{above:.1f}" for left, above, _entry in points)
        parts.append(f'<polyline points="{line}" fill="none" style="stroke: var({color}); stroke-width: 2" />')
        parts += [
            f'<circle cx="{left:.1f}" cy="{above:.1f}" r="4" style="fill: var({color})"><title>'
            f"{entry['concurrency']} requests: {entry[figure]:,.1f} {unit}, {words}</title></circle>"
            for left, above, entry in points
        ]
        parts.append(
            f'<text x="{_LEFT + 12 + 160 * position}" y="{_TOP + 12}" style="fill: var({color})">{escaped(words)}</text>'
        )
    drawing = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escaped(title)}">{"".join(parts)}</svg>'
    return (
        f'<section><h2>{escaped(title)} <span class="soft">({unit}, by requests at once)</span></h2>{drawing}</section>'
    )


def _table(good: Sequence[Mapping[str, Any]]) -> str:
    head = "".join(f"<th>{escaped(words)}</th>" for _figure, words in _COLUMNS)
    rows = "".join(
        "<tr>" + "".join(f'<td class="number">{entry[figure]:,.6g}</td>' for figure, _words in _COLUMNS) + "</tr>"
        for entry in good
    )
    return f"<section><h2>Each load</h2><table><tr>{head}</tr>{rows}</table></section>"
