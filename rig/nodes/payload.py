# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of configMap, secret, projected and downwardAPI volumes: what is to be there, and writing it as the kubelet does.

Facts imitated (kubelet's AtomicWriter, volume/projected):
- each file is a link through `..data` to a folder with the time in its name; an update swaps `..data`, so that a reader sees all old
  or all new files; a file mounted by subPath stays as it was
- modes: an item's, else the volume's default (0644); with fsGroup files belong to that group, which may read them
- service account tokens come from the TokenRequest API, bound to the pod, and are renewed after 80 % of their life
- a missing Secret, ConfigMap or key that is not optional keeps the pod from starting
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import os
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from rig.nodes import environment

Object = dict[str, Any]
DEFAULT_MODE = 0o644
RENEW_AFTER = 0.8


class MountError(Exception):
    """A volume cannot be had now; the text is the kubelet's, tried again later."""


@dataclasses.dataclass(frozen=True)
class File:
    """One file of a volume."""

    content: bytes
    mode: int


@dataclasses.dataclass
class Token:
    """A service account token that was given, and when a new one is due."""

    text: str
    renew_at: float


class Sources:
    """Collects the files of one volume; `request_token` asks for a token of the pod's service account."""

    def __init__(
        self,
        context: Callable[[], environment.Context],
        request_token: Callable[[Object], Awaitable[Object]],
        containers: list[Object],
    ) -> None:
        self._context = context
        self._request_token = request_token
        self._containers = {container["name"]: container for container in containers}
        self._tokens: dict[str, Token] = {}

    async def files(self, volume: Object) -> dict[str, File]:
        """What is in this volume now; MountError when something is missing."""
        if "projected" in volume:
            projected = volume["projected"]
            files: dict[str, File] = {}
            for source in projected.get("sources") or []:
                files |= await self._source(source, projected.get("defaultMode", DEFAULT_MODE))
            return files
        kind = next(kind for kind in ("secret", "configMap", "downwardAPI") if kind in volume)
        fields = dict(volume[kind])
        fields.setdefault("name", fields.get("secretName"))
        return await self._source({kind: fields}, fields.get("defaultMode", DEFAULT_MODE))

    async def _source(self, source: Object, mode: int) -> dict[str, File]:
        if "serviceAccountToken" in source:
            fields = source["serviceAccountToken"]
            return {fields["path"]: File((await self._token(fields)).encode(), mode)}
        if "downwardAPI" in source:
            return {item["path"]: self._downward(item, mode) for item in source["downwardAPI"].get("items") or []}
        if "secret" in source:
            fields, get, kind = source["secret"], self._context().secret, "secret"
        else:
            fields, get, kind = source["configMap"], self._context().config_map, "configmap"
        found = await get(fields["name"])
        if found is None and not fields.get("optional"):
            raise MountError(f'{kind} "{fields["name"]}" not found')
        return choose(_contents(found or {}, kind == "secret"), fields, mode, kind)

    def _downward(self, item: Object, mode: int) -> File:
        if "fieldRef" in item:
            text = environment.field(item["fieldRef"]["fieldPath"], self._context())
        else:
            reference = item["resourceFieldRef"]
            text = environment.resource(reference, self._containers[reference["containerName"]], self._context())
        return File(text.encode(), item.get("mode", mode))

    async def _token(self, fields: Object) -> str:
        known = self._tokens.get(fields["path"])
        if known is None or time.time() >= known.renew_at:
            status = (await self._request_token(fields))["status"]
            expires = datetime.datetime.fromisoformat(status["expirationTimestamp"].replace("Z", "+00:00")).timestamp()
            now = time.time()
            known = Token(status["token"], now + (expires - now) * RENEW_AFTER)
            self._tokens[fields["path"]] = known
        return known.text


def choose(contents: dict[str, bytes], fields: Object, mode: int, kind: str) -> dict[str, File]:
    """The files of a Secret or ConfigMap: all keys, or those of `items` under their paths."""
    items = fields.get("items")
    if not items:
        return {name: File(content, mode) for name, content in contents.items()}
    files = {}
    for item in items:
        if item["key"] in contents:
            files[item["path"]] = File(contents[item["key"]], item.get("mode", mode))
        elif not fields.get("optional"):
            raise MountError(f"references non-existent {kind} key: {item['key']}")
    return files


def write(folder: Path, files: dict[str, File], group: int | None) -> None:
    """Put exactly `files` into `folder`, all at once; nothing happens when they are there already."""
    current = folder / "..data"
    if current.is_symlink() and _same(current, files):
        return
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime("..%Y_%m_%d_%H_%M_%S.%f")
    made = folder / stamp
    made.mkdir()
    made.chmod(0o755)
    for name, file in files.items():
        path = made / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
        path.chmod(file.mode if group is None else file.mode | 0o440)
        if group is not None:
            os.chown(path, -1, group)
    before = current.readlink() if current.is_symlink() else None
    link = folder / "..data_tmp"
    link.symlink_to(stamp)
    link.replace(current)
    tops = {name.partition("/")[0] for name in files}
    for top in tops:
        visible = folder / top
        if not visible.is_symlink():
            visible.symlink_to(f"..data/{top}")
    for path in folder.iterdir():
        if path.is_symlink() and not path.name.startswith("..") and path.name not in tops:
            path.unlink()
    if before is not None:
        shutil.rmtree(folder / before)


def _same(current: Path, files: dict[str, File]) -> bool:
    there = {str(path.relative_to(current)): path for path in current.rglob("*") if path.is_file()}
    return there.keys() == files.keys() and all(
        there[name].read_bytes() == file.content for name, file in files.items()
    )


def _contents(found: Object, secret: bool) -> dict[str, bytes]:
    if secret:
        return {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}
    texts = {key: value.encode() for key, value in (found.get("data") or {}).items()}
    return texts | {key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()}
