# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Logs and events as a person reads them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from .deployment_health import readable_bytes, readable_seconds
from .pod_words import progress_entry

_STAMP = re.compile(r"\d{4}-\d\d-\d\dT(\d\d:\d\d:\d\d)\S* ")


def readable(lines: Iterable[str], phase: str | None = None, said: dict[str, str] | None = None) -> list[str]:
    """Return log lines that begin with their time, progress lines as time, phase, how far and cause; with `phase`, those of it alone.

    said  what each phase said last, kept by who reads the log in parts
    """
    shown: list[str] = []
    last: dict[str, str] = {} if said is None else said
    for line in lines:
        stamp = _STAMP.match(line)
        time, text = (stamp[1], line[stamp.end() :]) if stamp else ("", line)
        entry = progress_entry(text)
        if entry is None:
            if phase is None:
                shown.append(text)
            continue
        if phase not in (None, entry["phase"]):
            continue
        words = _how_far(entry)
        # Every 30 s the same is said again.
        if last.get(entry["phase"]) != words:
            last[entry["phase"]] = words
            shown.append(f"{time:<8}  {entry['phase']:<8}  {words}")
    return shown


def readable_events(events: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return events as lines, oldest first: time, type, reason, object, how often, words."""
    rows = []
    for event in events:
        when = str(event.get("lastTimestamp") or event.get("eventTime") or event.get("firstTimestamp") or "")
        about = event.get("involvedObject") or {}
        count = f" ({event['count']} times)" if isinstance(event.get("count"), int) and event["count"] > 1 else ""
        words = " ".join(str(event.get("message") or "").split())
        name = f"{about.get('kind')}/{about.get('name')}"
        rows.append(f"{when:<20}  {event.get('type')}  {event.get('reason')}  {name}{count}: {words}")
    return sorted(rows)


def _how_far(entry: Mapping[str, Any]) -> str:
    parts = [str(entry.get("state") or "")]
    if entry.get("total") and entry.get("state") != "done":
        if entry.get("unit") == "bytes":
            parts.append(f"{readable_bytes(entry.get('done') or 0)} of {readable_bytes(entry['total'])}")
        else:
            parts.append(f"{entry.get('done') or 0:g}/{entry['total']:g} {entry.get('unit') or ''}".rstrip())
        if entry.get("eta"):
            parts.append(f"{readable_seconds(entry['eta'])} left")
    parts += [str(entry[key]) for key in ("step", "cause", "remedy", "warning") if entry.get(key)]
    if isinstance(entry.get("text"), str):
        parts.append(f"answered {entry['text']!r}")
    return ", ".join(part for part in parts if part)
