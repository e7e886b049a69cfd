# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Pages of HTML that load nothing from elsewhere: the frame, the style, and text that is escaped."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from html import escape
from typing import Any

from .text import shorten

_STYLE = """
:root { --ink: #1c2430; --soft: #5b6675; --paper: #ffffff; --card: #f4f6f9; --line: #d5dbe3;
  --weights: #2f6fb5; --overhead: #b9c3d0; --cache: #6fbf8e; --free: #e6eaf0; --warn: #9a5b00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7ebf1; --soft: #a0abba; --paper: #14181e; --card: #1d232b;
  --line: #343d49; --weights: #5b9be0; --overhead: #5c6876; --cache: #4d9b6d; --free: #2a323d; --warn: #e0a95a; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
p { margin: .25rem 0; } .soft { color: var(--soft); } .warn { color: var(--warn); }
svg { width: 100%; height: auto; display: block; } text { font: 12px system-ui, sans-serif; fill: var(--ink); }
text.soft { fill: var(--soft); } text.title { font-weight: 600; font-size: 13px; }
.card { fill: var(--card); stroke: var(--line); } .free { fill: var(--free); } .weights { fill: var(--weights); }
.overhead { fill: var(--overhead); } .cache { fill: var(--cache); } .edge { stroke: var(--line); stroke-width: 2; }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; padding: .25rem .75rem .25rem 0;
  border-bottom: 1px solid var(--line); vertical-align: top; } td.number { text-align: right; white-space: nowrap; }
code { font-size: 13px; overflow-wrap: anywhere; }
"""


def document(title: str, body: Iterable[str]) -> str:
    """Return the page with these parts, each of which is markup. It is well-formed XML, too, if they are."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8" />'
        '<meta name="viewport" content="width=device-width, initial-scale=1" />'
        f"<title>{escaped(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(part for part in body if part)
        + "\n</body>\n</html>\n"
    )


def escaped(value: Any) -> str:
    """Return the value as text of the page; what XML has no place for becomes a replacement character."""
    text = shorten(value if isinstance(value, str) else json.dumps(value))
    return escape(re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text))
