# SPDX-License-Identifier: GPL-3.0-or-later
"""An API server's Leases, as far as one run of a deployment meets them."""

from __future__ import annotations

import copy
from typing import Any

from ansible_collections.multinode.inference.plugins.module_utils.core.fault import Fault, Refused

Object = dict[str, Any]


class Leases:
    """Keeps Leases by their paths; `fault` is what every request is refused with while it is set."""

    def __init__(self) -> None:
        self.items: dict[str, Object] = {}
        self.fault: Fault | None = None
        self.requests: list[str] = []
        self._version = 0

    def _ask(self, request: str) -> None:
        self.requests.append(request)
        if self.fault:
            raise Refused([self.fault])

    def _write(self, path: str, item: Object) -> None:
        self._version += 1
        item["metadata"]["resourceVersion"] = str(self._version)
        self.items[path] = item

    def get(self, path: str) -> Object | None:
        self._ask("GET")
        return copy.deepcopy(self.items.get(path))

    def create(self, path: str, item: Object) -> bool:
        self._ask("POST")
        whole = f"{path}/{item['metadata']['name']}"
        if whole in self.items:
            return False
        self._write(whole, copy.deepcopy(item))
        return True

    def edit(self, path: str, operations: list[Object]) -> bool:
        self._ask("PATCH")
        if path not in self.items:
            return False
        item = copy.deepcopy(self.items[path])
        for operation in operations:
            *parents, last = operation["path"].strip("/").split("/")
            holder = item
            for parent in parents:
                holder = holder[parent]
            if operation["op"] == "test" and holder.get(last) != operation["value"]:
                raise Refused([Fault("conflict", path, "422 testing path failed")])
            holder[last] = operation["value"]
        self._write(path, item)
        return True

    def delete(self, path: str, resource_version: str) -> bool:
        self._ask("DELETE")
        if self.items[path]["metadata"]["resourceVersion"] != resource_version:
            raise Refused([Fault("conflict", path, "409")])
        return self.items.pop(path, None) is not None
