# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The pre-authenticated request through which a deployment's pods read a bucket, over the life of the deployment.

The Secret is the home of its URL, which the cloud tells once only. Before a request is made the Secret says which one is to
be looked for, and the last to go at the end is the Secret: so a killed run leaves no request without a record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..module_utils.core.manifests.objects import secret
from ..module_utils.core.names import label_selector, object_names
from ..module_utils.core.ownership import request_name
from ..module_utils.core.parts import inner
from ..module_utils.core.plan.types import Plan
from ..module_utils.core.recipe.settings import SIGN_IN
from ..module_utils.core.source_request import place_of, record_of, recorded
from ..module_utils.core.text import plain
from ..module_utils.kube.client import Kubernetes, part
from ..module_utils.kube.deployment import RAYCLUSTERS, secret_values
from ..module_utils.oci.client import is_region, region_of_ocid

_MODULE = "multinode.inference.oci_preauthenticated_request"
_KIND = "source_secret"


class BucketAccess:
    """The request of the deployment `name`, as its Secret (else its RayCluster) says.

    Whoever may write these objects may have written the record: it counts as far as it names the request that only this
    deployment has, in a region of Oracle Cloud.

    run_module   runs a module with arguments and returns its result; Refused when it failed
    disbelieved  what is recorded and does not count, in words
    """

    def __init__(
        self,
        kubernetes: Kubernetes,
        settings: Mapping[str, Any],
        name: str,
        namespace: str,
        run_module: Callable[[str, dict[str, Any]], dict[str, Any]],
    ) -> None:
        self._kubernetes = kubernetes
        self._settings = settings
        self._name = name
        self._namespace = namespace
        self._run_module = run_module
        self._made = ""
        self.disbelieved: list[str] = []
        self.secret_name = object_names(name)[_KIND]
        # It tells this cluster from others whose deployments read the same bucket.
        cluster = inner(kubernetes.get("/api/v1/namespaces/kube-system"), "metadata").get("uid", "")
        self._request = request_name(name, namespace, cluster)
        item = self._read_secret()
        self.has_secret = bool(item)
        self.url = secret_values(item).get("par", "")
        self.record = self._believed(item) or self._record_of_raycluster()

    def _read_secret(self) -> dict[str, Any]:
        path = f"/api/v1/namespaces/{part(self._namespace)}/secrets/{self.secret_name}"
        return self._kubernetes.get(path) or {}

    def _record_of_raycluster(self) -> dict[str, Any]:
        for item in self._kubernetes.items(RAYCLUSTERS, labelSelector=label_selector(self._name)):
            if item["metadata"]["namespace"] == self._namespace:
                return self._believed(item)
        return {}

    def _believed(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """Return the record among an object's annotations as far as it is about this deployment's request."""
        record = recorded((item.get("metadata") or {}).get("annotations"))
        former = [place for place in record.pop("former", ()) if self._is_own(place)]
        if record and not self._is_own(record):
            # A request for another bucket may still be to be revoked.
            record = former.pop() if former else {}
        return {**record, "former": former} if former else record

    def _is_own(self, place: Mapping[str, Any]) -> bool:
        region = place.get("region") or ""
        known = ("", self._settings["region"], region_of_ocid(self._settings["oke_cluster_id"] or ""))
        if place["name"] == self._request and (region in known or is_region(region)):
            return True
        self.disbelieved.append(
            plain(
                f"pre-authenticated request {place['name']} of bucket {place['bucket']} (an annotation names it, and it is not "
                f"this deployment's {self._request})"
            )
        )
        return False

    def announce(self, plan: Plan) -> dict[str, Any] | None:
        """Return the Secret that has to be there before a request is made, None where it is: it names the request."""
        source = plan["model"]["source"]
        place = {key: source[key] for key in ("region", "namespace", "bucket")}
        if self.record and place == {key: self.record.get(key) for key in place}:
            return None if self.has_secret else self._secret(plan, self.record)
        # The group reads through the one of before until its successor's URL is in the Secret.
        former = [*self.record.get("former", []), place_of(self.record)] if self.record else []
        self.record = {"name": self._request, **place, "former": former}
        return self._secret(plan, self.record)

    def present(self, plan: Plan) -> list[dict[str, Any]]:
        """Make the request where the one of the record does not serve; return the Secret, where it is another now."""
        known = self.record.get("id") if self.url else None
        result = self._ask(plan, known)
        if result.get("url"):
            self.url, self._made = result["url"], result["request"]["id"]
        if result["request"]:
            former = self.record.get("former", [])
            self.record = {key: value for key, value in result["request"].items() if isinstance(value, str)}
            self.record["former"] = former
        would_be_made = result["changed"] and not result["request"]
        return [self._secret(plan, self.record)] if self._made or would_be_made else []

    def settle(self, plan: Plan) -> list[dict[str, Any]]:
        """After the Secret has its new URL: revoke what has the name beside it, and those of other buckets before.

        Another deploy may have put its own URL there meanwhile: what the Secret names now stays. Return the Secret, where it
        knows less now.
        """
        if self._made:
            self._ask(plan, self._believed(self._read_secret()).get("id") or self._made)
        if not self.record.get("former"):
            return []
        for place in self.record.pop("former"):
            self._run({"state": "absent"}, place)
        return [self._secret(plan, self.record)]

    def revoke(self) -> list[str]:
        """Revoke the request of the record and all that have its name; return what was revoked, in words."""
        places = [*self.record.get("former", []), place_of(self.record)] if self.record else []
        return [
            f"pre-authenticated request {place['name']} of bucket {place['bucket']}"
            for place in places
            if self._run({"state": "absent"}, place)["revoked"]
        ]

    def reference(self) -> dict[str, Any]:
        """Return the Secret by its name."""
        metadata = {"name": self.secret_name, "namespace": self._namespace}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}

    def annotation(self) -> dict[str, str]:
        """Return the annotation that holds the record, {} where no request is known."""
        return record_of(self.record) if self.record.get("id") else {}

    def _ask(self, plan: Plan, known: str | None) -> dict[str, Any]:
        days = self._settings["source_request_days"]
        return self._run({"state": "present", "prefix": plan["staging"]["prefix"], "id": known, "days": days})

    def _run(self, arguments: dict[str, Any], record: Mapping[str, Any] | None = None) -> dict[str, Any]:
        record = record or self.record
        place = {
            "name": record["name"],
            "bucket_name": record["bucket"],
            "bucket_namespace": record["namespace"],
            "cluster_id": self._settings["oke_cluster_id"],
        }
        sign_in = {name: self._settings[name] for name in SIGN_IN}
        # A bucket stays where it was found, whatever region is named today.
        sign_in["region"] = record.get("region") or sign_in["region"]
        return self._run_module(_MODULE, {**sign_in, **place, **arguments})

    def _secret(self, plan: Plan, record: Mapping[str, Any]) -> dict[str, Any]:
        item = secret(plan, _KIND, {"par": self.url} if self.url else {})
        item["metadata"]["annotations"].update(record_of(record))
        return item
