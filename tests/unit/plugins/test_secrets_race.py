# SPDX-License-Identifier: GPL-3.0-or-later
"""Two deploys that make the Secrets at once: each Secret is made once, and both runs go on with what is in it."""

from __future__ import annotations

import base64
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.multinode.inference.plugins.action.deployment import ActionModule
from ansible_collections.multinode.inference.plugins.module_utils.core.names import object_names
from ansible_collections.multinode.inference.plugins.module_utils.kube.client import Kubernetes
from ansible_collections.multinode.inference.plugins.module_utils.kube.deployment import read_secret
from tests.unit.core.plans import plan

PLAN = plan()
NAME, NAMESPACE = PLAN["deployment"]["name"], PLAN["deployment"]["namespace"]
SECRETS = [object_names(NAME)[kind] for kind in ("api_key_secret", "ray_token_secret")]
RUNS = 4


class Api:
    """Secrets by their paths; a second creation of one is answered as the API server does, over the product's own client."""

    def __init__(self) -> None:
        self.items: dict[str, dict[str, Any]] = {}
        self.posts: list[int] = []
        self._lock = threading.Lock()

    def request(self, method: str, url: str, **content: Any) -> Any:
        # Long enough for the other runs to come in between a read and what follows from it.
        time.sleep(0.002)
        path = url.removeprefix("https://k")
        with self._lock:
            status, body = self._create(path, json.loads(content["body"])) if method == "POST" else self._read(path)
        return SimpleNamespace(status=status, read=lambda _most: json.dumps(body).encode(), close=lambda: None)

    def _read(self, path: str) -> tuple[int, dict[str, Any]]:
        item = self.items.get(path)
        return (200, item) if item else (404, {"message": "not found"})

    def _create(self, path: str, item: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        place = f"{path}/{item['metadata']['name']}"
        if place in self.items:
            self.posts.append(409)
            return 409, {"reason": "AlreadyExists", "message": f"secrets {item['metadata']['name']} already exists"}
        self.posts.append(201)
        texts = item.pop("stringData")
        data = {key: base64.b64encode(value.encode()).decode() for key, value in texts.items()}
        self.items[place] = {**item, "data": data}
        return 201, self.items[place]


class Run(ActionModule):
    """A deploy, as far as it makes the Secrets."""

    def __init__(self, api: Api, start: threading.Barrier) -> None:
        self._task = SimpleNamespace(check_mode=False)
        library: Any = SimpleNamespace(
            configuration=SimpleNamespace(host="https://k"),
            rest_client=SimpleNamespace(pool_manager=SimpleNamespace(request=api.request)),
        )
        self._kubernetes, self._start = Kubernetes(library, lambda: "token"), start

    def go(self) -> tuple[list[str], list[dict[str, str] | None]]:
        """Return what this run made, and what it finds in the Secrets then."""
        made, wanted = self._secrets(self._kubernetes, PLAN, {}, "ray_token_secret")
        assert len(made) == 2 and not wanted
        self._start.wait(10)
        changes = [change["object"] for item in made for change in self.create_secret(self._kubernetes, item)]
        return changes, [read_secret(self._kubernetes, NAMESPACE, name) for name in SECRETS]


@pytest.mark.parametrize("_again", range(5))
def test_the_second_takes_the_firsts_keys(_again: int) -> None:
    api, start = Api(), threading.Barrier(RUNS)
    with ThreadPoolExecutor(RUNS) as threads:
        ended = list(threads.map(lambda _number: Run(api, start).go(), range(RUNS)))
    assert sorted(api.posts) == [201] * 2 + [409] * 2 * (RUNS - 1)
    assert sorted(name for made, _found in ended for name in made) == sorted(f"Secret/{name}" for name in SECRETS)
    assert all(found == ended[0][1] and all(found) for _made, found in ended)


def test_a_run_that_comes_later_makes_none() -> None:
    api = Api()
    first = Run(api, threading.Barrier(1))
    _made, found = first.go()
    later = Run(api, threading.Barrier(1))
    assert later._secrets(later._kubernetes, PLAN, {}, "ray_token_secret") == ([], [])
    assert [read_secret(later._kubernetes, NAMESPACE, name) for name in SECRETS] == found
