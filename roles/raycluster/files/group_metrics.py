# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The group's own figures in Prometheus' text format, which the head serves at /metrics of its status port to whoever has an API key.

A fixed set of series: no label has a value that a user or a model could choose. Times are seconds, sizes bytes.
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Iterable, Mapping
from typing import Any

from engine_keys import Keys

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
STATES = ("forming", "starting", "serving", "draining", "ending", "given_up")
PHASES = ("ray", "staging", "engine", "token")
_keys = Keys()


def has_key(authorization: str | None) -> bool:
    """Say whether the value of an Authorization header has one of the deployment's keys."""
    scheme, _space, given = (authorization or "").partition(" ")
    key = given.encode("utf-8", "replace")
    # All are compared, so that the time tells nothing of which is nearly right.
    matching = [value for value in _keys.valid() if hmac.compare_digest(key, value)]
    return scheme.lower() == "bearer" and bool(matching)


def text(status: Mapping[str, Any], seconds: Mapping[str, float], failures: int, own: int) -> str:
    """Return the page.

    status    of the head (`pod_status`)
    seconds   of each phase, from its begin to its end or to now
    failures  that count against the limit of restarts; own: completions that the head itself asked for
    """
    phases: Mapping[str, Mapping[str, Any]] = status["phases"]
    ray, staging = phases.get("ray") or {}, phases.get("staging") or {}
    lines = _series(
        "multinode_state",
        "gauge",
        "1 for the state that the group is in",
        ((f'{{state="{state}"}}', float(status["state"] == state)) for state in STATES),
    )
    lines += _series(
        "multinode_phase_done",
        "gauge",
        "1 once the phase is done in this run of the head",
        ((f'{{phase="{phase}"}}', float((phases.get(phase) or {}).get("state") == "done")) for phase in PHASES),
    )
    lines += _series(
        "multinode_phase_seconds",
        "gauge",
        "how long the phase took, or has taken",
        ((f'{{phase="{phase}"}}', seconds[phase]) for phase in PHASES if phase in seconds),
    )
    for name, kind, words, value in (
        ("multinode_failures", "gauge", "failures that count against restart_limit", failures),
        ("multinode_unserved_tries", "gauge", "tries that failed since the group last served", status["unserved"]),
        ("multinode_gpus", "gauge", "GPUs that the group formed with, or has so far", ray.get("done")),
        ("multinode_gpus_expected", "gauge", "GPUs of the whole group", ray.get("total")),
        ("multinode_staged_bytes", "gauge", "bytes of the model on the head's node", staging.get("done")),
        ("multinode_staged_bytes_expected", "gauge", "bytes that the head's node is to have", staging.get("total")),
        ("multinode_fetched_bytes", "gauge", "bytes that this run of the head fetched", staging.get("fetched")),
        ("multinode_quiet_seconds", "gauge", "seconds since the engine gave anyone a token", status["quiet"]),
        ("multinode_own_completions_total", "counter", "completions that the group asked itself for", own),
    ):
        lines += _series(name, kind, words, [("", value)])
    return "\n".join(lines) + "\n"


def _series(name: str, kind: str, words: str, values: Iterable[tuple[str, Any]]) -> list[str]:
    """Return the lines of a metric; none where no value is a number."""
    rows = [
        f"{name}{labels} {float(value)}"
        for labels, value in values
        if isinstance(value, (int, float)) and math.isfinite(value)
    ]
    return [f"# HELP {name} {words}", f"# TYPE {name} {kind}", *rows] if rows else []
