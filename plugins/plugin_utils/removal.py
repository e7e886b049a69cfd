# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Removes a deployment's objects and sees them go. What does not go is said at the end: nodes that cost money do not wait for it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

from ..module_utils.core.fault import Fault, Refused
from ..module_utils.core.health.deployment_health import readable_seconds
from ..module_utils.kube.client import Kubernetes
from ..module_utils.kube.cloud_resources import load_balancers_of, volumes_of
from ..module_utils.kube.namespace_contents import NamespaceContents
from ..module_utils.kube.removal import (
    costs_money,
    left_folders,
    objects_of,
    own_namespace,
    pods_of,
    shared_operator,
    waiting_pods,
)
from .bucket_access import BucketAccess

# A load balancer takes a minute, a pod as long as its grace period.
LONGEST_SECONDS = 300.0
LOOK_SECONDS = 1.0
# The cluster alone knows which block volumes are the deployment's.
_VOLUMES_UNSEEN = Fault(
    "volumes_unseen",
    "block volumes",
    "not checked: the user may not list persistentvolumes",
    "the right to",
    "check the console for unattached volumes, or grant the right before the next undeploy",
)
Write = Callable[..., dict[str, Any]]


class Remover:
    """Removes objects; `left` are the faults of those that stay.

    write     calls kubernetes.core.k8s with a list of objects
    say       shows a line
    watching  whether anything goes that could be watched: not in check mode
    """

    def __init__(
        self,
        write: Write,
        say: Callable[[str], None],
        watching: bool = True,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._write = write
        self._say = say
        self._watching = watching
        self._clock = clock
        self._sleep = sleep
        self._began = clock()
        self.left: list[Fault] = []

    def remove(self, objects: list[dict[str, Any]]) -> None:
        """Ask for the end of the objects, of each whatever becomes of the others."""
        if not objects:
            return
        # The API leaves a Job's pods alone where it is not told otherwise.
        options = {"propagationPolicy": "Background"}
        result = self._write(objects, state="absent", continue_on_error=True, delete_options=options)
        for item, entry in zip(objects, result["results"], strict=False):
            if error := entry.get("error"):
                self.left.append(_left(name_of(item), f"not removed: {error.get('msg') or error.get('reason')}"))

    def hasten(self, pods: list[dict[str, Any]]) -> None:
        """Cut the grace period of pods in which nothing runs that would need it; where that fails, they take it."""
        if pods:
            with contextlib.suppress(Refused):
                self._write(pods, state="absent", continue_on_error=True, delete_options={"gracePeriodSeconds": 1})

    def watch(self, look: Callable[[], list[str]]) -> None:
        """Return when `look` names nothing any more, or after LONGEST_SECONDS of this removal."""
        if not self._watching:
            return
        refused = {fault.where for fault in self.left}
        said = None
        while remaining := [name for name in look() if name not in refused]:
            age = self._clock() - self._began
            if age > LONGEST_SECONDS:
                self.left += [_left(name, f"still there after {readable_seconds(age)}") for name in remaining]
                return
            if remaining != said:
                self._say(f"  {readable_seconds(age):>6}  still there: {', '.join(remaining)}")
                said = remaining
            self._sleep(LOOK_SECONDS)


def name_of(item: dict[str, Any]) -> str:
    """Return kind and name of an object, as results show it."""
    return f"{item['kind']}/{item['metadata']['name']}"


def _left(where: str, found: str) -> Fault:
    return Fault("not_removed", where, found, "gone", "see its events (kubectl describe), then run undeploy again")


def remove_deployment(
    kubernetes: Kubernetes,
    name: str,
    namespace: str,
    access: BucketAccess,
    remover: Remover,
    namespace_given: bool = False,
) -> dict[str, Any]:
    """Remove the objects, pods and volumes, then the namespace where it was made for this deployment and holds nothing else.

    First what costs money or holds the nodes, and that is waited for: a volume cannot be taken off a node that is gone.

    access           the request for the source's bucket, which is revoked
    namespace_given  whether the user named the namespace: then it is not this collection's to delete
    """
    objects = objects_of(kubernetes, name, namespace)
    seen = volumes_of(kubernetes, name, namespace)
    volumes = seen or []
    balancers = load_balancers_of(kubernetes, name, namespace)
    own = own_namespace(kubernetes, name, namespace)
    contents = NamespaceContents(kubernetes, name, namespace)
    if own:
        # What is the deployment's shows while its owners are there.
        contents.reason_to_stay()
    kept = [f"{folder} of the nodes" for folder in left_folders(kubernetes, name, namespace)]
    kept += [
        f"PersistentVolume/{volume['name']} (its reclaim policy is Retain)" for volume in volumes if volume["kept"]
    ]
    if own is False or (own and namespace_given):
        words = "it was given by name" if own else "it was not made for this deployment"
        kept.append(f"Namespace/{namespace} ({words})")
    kept += access.disbelieved
    kept += shared_operator(kubernetes)
    first = [item for item in objects if costs_money(item)]
    then = [item for item in objects if not costs_money(item)]
    held: set[str] = set()

    def billing() -> list[str]:
        names = [name_of(item) for item in objects_of(kubernetes, name, namespace) if costs_money(item)]
        names += [f"Pod/{pod}" for pod in pods_of(kubernetes, name, namespace)]
        standing = volumes_of(kubernetes, name, namespace) or []
        return names + [f"PersistentVolume/{volume['name']}" for volume in standing if not volume["kept"]]

    def others() -> list[str]:
        names = [name_of(item) for item in objects_of(kubernetes, name, namespace) if not costs_money(item)]
        return [words for words in names if words not in held]

    def whole() -> list[str]:
        return [f"Namespace/{namespace}"] if own_namespace(kubernetes, name, namespace) else []

    remover.remove(first)
    remover.hasten(waiting_pods(kubernetes, name, namespace))
    remover.watch(billing)
    revoked: list[str] = []
    try:
        revoked = access.revoke()
    except Refused as refused:
        remover.left += refused.faults
        record = f"Secret/{access.secret_name}"
        if record in map(name_of, then):
            kept.append(f"{record} (it says which request is still to be revoked)")
            held = {record}
            then = [item for item in then if name_of(item) not in held]
    remover.remove(then)
    remover.watch(others)
    if own and not namespace_given and not held:
        if reason := contents.reason_to_stay():
            kept.append(f"Namespace/{namespace} ({reason})")
        else:
            then.append({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
            remover.remove(then[-1:])
            remover.watch(whole)
    left = {fault.where for fault in remover.left}
    removed = [words for words in map(name_of, [*first, *then]) if words not in left]
    return {
        "changed": bool(removed or revoked),
        "removed": [*removed, *revoked],
        "kept": kept,
        "left": [fault.as_dict() for fault in remover.left],
        "unseen": [] if seen is not None else [_VOLUMES_UNSEEN.as_dict()],
        "volumes": [volume["id"] for volume in volumes if volume["id"] and not volume["kept"]],
        "load_balancers": balancers,
    }
