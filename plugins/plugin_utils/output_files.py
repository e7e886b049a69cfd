# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes the files that settings name: whole or not at all, for their owner alone, and nowhere else than where they were named."""

from __future__ import annotations

import io
import json
import os
import stat
import tarfile
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..module_utils.core.fault import Fault, Refused
from ..module_utils.core.redaction import Redaction
from ..module_utils.kube.failure_bundle import FailureBundle
from .cluster import Cluster

PRIVATE = 0o600
_FOLDER = "failure-bundle"


def write_file(setting: str, path: str, text: str, mode: int = PRIVATE) -> bool:
    """Write `text` to the file `path` that `setting` names; return whether its text is another one now.

    Raises Refused where it cannot be written, and where a link or something that is no file is there: who made the link has
    chosen what is written over.
    """
    return _write(setting, path, text.encode(), mode)


def write_bundle(
    path: str,
    result: Mapping[str, Any],
    plan: Mapping[str, Any],
    results: Mapping[str, Mapping[str, Any]],
    reach: Callable[[Mapping[str, Any]], Cluster],
) -> dict[str, str]:
    """Write what support needs of a run that failed into the .tar.gz `path`; return what it lacks, with the reasons.

    results  of the tasks by their names, as the report has them
    reach    returns the cluster of the settings
    Raises Refused where the file cannot be written.
    """
    recipe, seen = results.get("recipe") or {}, (results.get("status") or {}).get("deployments") or []
    settings = recipe.get("settings") or {}
    found = [(entry["name"], entry["namespace"]) for entry in seen if not entry.get("ready")]
    if not found and (name := recipe.get("name")):
        found = [(name, result.get("namespace") or settings.get("namespace") or name)]
    objects: dict[str, Any] = {"result.json": result, "plan.json": plan}
    logs: dict[str, str] = {}
    secrets: list[str] = []
    missing: dict[str, str] = {} if found else {"objects": "the run ended before a deployment was known"}
    try:
        if found:
            bundle = FailureBundle(reach(settings).connect())
            for name, namespace in found:
                bundle.collect(name, namespace)
            objects.update(bundle.objects)
            logs, secrets, missing = bundle.logs, bundle.secrets, bundle.missing
    except Refused as refused:
        missing = {"objects": "; ".join(fault.line() for fault in refused.faults)}
    redaction = Redaction(secrets)
    missing = {path: redaction.text(reason) for path, reason in missing.items()}
    texts = {
        name: json.dumps(redaction.data(value), indent=2) + "\n"
        for name, value in {**objects, "missing.json": missing}.items()
    }
    texts.update({name: redaction.text(text) for name, text in logs.items()})
    packed, now = io.BytesIO(), int(time.time())
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in texts.items():
            content, member = text.encode(errors="replace"), tarfile.TarInfo(f"{_FOLDER}/{name}")
            member.size, member.mode, member.mtime = len(content), PRIVATE, now
            archive.addfile(member, io.BytesIO(content))
    _write("failure_bundle", path, packed.getvalue(), PRIVATE)
    return missing


def _write(setting: str, path: str, content: bytes, mode: int) -> bool:
    target = Path(path).expanduser()
    try:
        there = os.lstat(target) if os.path.lexists(target) else None
        if there and not stat.S_ISREG(there.st_mode):
            raise _refused(setting, f"{target} is {'a link' if stat.S_ISLNK(there.st_mode) else 'no file'}")
        same = bool(there) and target.read_bytes() == content
        if same and there and stat.S_IMODE(there.st_mode) == mode:
            return False
        handle, beside = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.chmod(beside, mode)
            os.replace(beside, target)
        except BaseException:
            os.unlink(beside)
            raise
    except OSError as error:
        raise _refused(setting, f"{target}: {error.strerror}") from error
    return not same


def _refused(setting: str, found: str) -> Refused:
    return Refused([Fault(setting, setting, found, "a file that can be written", "name another")])
