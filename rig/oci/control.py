# SPDX-License-Identifier: GPL-3.0-or-later
"""The control address: what tests ask of the cloud, beside its APIs. No signature; loopback only.

POST   /tenancies {name?, node_kind?: process|kwok, cni?, timings?{...}, limits?{...}, quotas?{...}, subnets?{...},
                   system_pool?, administrator?, endpoints?{public?, private?}}
                                    a new account (or that of this name) -> {compartment_id, oke_cluster_id, settings,
                                    ...}
GET    /tenancies                   all of them
POST   /images {tenancy, name}      a further node image -> {id}
POST   /principals {tenancy, public_key}   an instance or a pod signs in (see principals.py) -> {token}
POST   /scenarios {match, do}       a fault (see scenarios.py) -> {id, ...}
GET    /scenarios, DELETE /scenarios[/id][?tenancy=]
GET    /calls?tenancy=&since=&operation=   the call log, oldest first; `since` in seconds since 1970
POST   /nodes/<private IP, name or OCID>/{die,never_join,no_gpu}
POST   /engines/<deployment>/{die,fail,hang,lie,slow,heal} {seconds?, times?, log?}
PUT    /objects/<namespace>/<bucket>/<name>[?size=bytes][?part_size=bytes]   store an object
POST   /token-reviews TokenReview   who made a token of OKE, as the API server asks (see cluster_tokens.py); logged as a call
POST   /rig/volumes {id?, name?, size_gb, namespace, claim, tenancy?, node?}, DELETE /rig/volumes/<id>
POST   /rig/load_balancers {name, address, network, node?}, DELETE /rig/load_balancers?name=
GET    /state                       everything there is
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from rig.oci.accounts import Accounts, admit_principal, publish_image
from rig.oci.cloud import Cloud
from rig.oci.cluster_tokens import review
from rig.oci.engines import Engines
from rig.oci.errors import ServiceError, invalid_parameter, missing_parameter
from rig.oci.identifiers import new_ocid
from rig.oci.node_pools import NodePools
from rig.oci.object_storage import CHUNK, no_bucket
from rig.oci.objects import Store
from rig.oci.preauthenticated_requests import PreauthenticatedRequests
from rig.oci.state import LoadBalancer, NodePool, Tenancy, Volume, now, timestamp


class Control:
    """Answers the control address."""

    def __init__(
        self,
        cloud: Cloud,
        accounts: Accounts,
        node_pools: NodePools,
        store: Store,
        pars: PreauthenticatedRequests,
        engines: Engines,
    ) -> None:
        self._cloud = cloud
        self._accounts = accounts
        self._node_pools = node_pools
        self._store = store
        self._pars = pars
        self._engines = engines

    def application(self) -> web.Application:
        application = web.Application(middlewares=[_errors_as_json], client_max_size=64 * 1024 * 1024)
        application.router.add_routes(
            [
                web.post("/tenancies", self.create_tenancy),
                web.get("/tenancies", self.list_tenancies),
                web.post("/images", self.add_image),
                web.post("/principals", self.admit_principal),
                web.post("/scenarios", self.create_scenario),
                web.get("/scenarios", self.list_scenarios),
                web.delete("/scenarios", self.delete_scenarios),
                web.delete("/scenarios/{id}", self.delete_scenarios),
                web.get("/calls", self.list_calls),
                web.post("/nodes/{name}/{what}", self.steer_node),
                web.post("/engines/{deployment}/{what}", self.steer_engine),
                web.put("/objects/{path:.+}", self.put_object),
                web.post("/token-reviews", self.review_token),
                web.post("/rig/volumes", self.add_volume),
                web.delete("/rig/volumes/{id}", self.remove_volume),
                web.post("/rig/load_balancers", self.add_load_balancer),
                web.delete("/rig/load_balancers", self.remove_load_balancer),
                web.get("/state", self.state),
            ]
        )
        return application

    # --- tenancies ------------------------------------------------------------------------------------------------

    async def create_tenancy(self, request: web.Request) -> web.Response:
        tenancy = self._accounts.create(await _body(request))
        return web.json_response(self._accounts.describe(tenancy))

    async def list_tenancies(self, request: web.Request) -> web.Response:
        return web.json_response([self._accounts.describe(tenancy) for tenancy in self._cloud.tenancies])

    async def add_image(self, request: web.Request) -> web.Response:
        body = await _body(request, "tenancy", "name")
        return web.json_response({"id": publish_image(self._cloud.tenancy(body["tenancy"]), body["name"])})

    async def admit_principal(self, request: web.Request) -> web.Response:
        body = await _body(request, "tenancy", "public_key")
        return web.json_response({"token": admit_principal(self._cloud.tenancy(body["tenancy"]), body["public_key"])})

    # --- scenarios ------------------------------------------------------------------------------------------------

    async def create_scenario(self, request: web.Request) -> web.Response:
        body = await _body(request)
        named = (body.get("match") or {}).get("tenancy")
        if named:
            self._cloud.tenancy(named)
        return web.json_response(self._cloud.scenarios.add(body).as_json())

    async def list_scenarios(self, request: web.Request) -> web.Response:
        return web.json_response([scenario.as_json() for scenario in self._cloud.scenarios.all()])

    async def delete_scenarios(self, request: web.Request) -> web.Response:
        tenancy = request.query.get("tenancy")
        if tenancy:
            for scenario in self._cloud.scenarios.of(self._cloud.tenancy(tenancy)):
                self._cloud.scenarios.remove(scenario.id)
        else:
            self._cloud.scenarios.remove(request.match_info.get("id"))
        return web.json_response({})

    # --- calls ----------------------------------------------------------------------------------------------------

    async def list_calls(self, request: web.Request) -> web.Response:
        query = request.query
        compartment = self._cloud.tenancy(query["tenancy"]).compartment_id if query.get("tenancy") else None
        since = float(query.get("since") or 0)
        found = [
            call
            for call in self._cloud.calls
            if call["time"] >= since
            and (compartment is None or call["tenancy"] == compartment)
            and query.get("operation") in (None, "", call["operation"])
        ]
        return web.json_response(found)

    # --- tokens -----------------------------------------------------------------------------------------------------

    async def review_token(self, request: web.Request) -> web.Response:
        """What the API server's webhook asks. The log says how it ended, never the token."""
        answer, tenancy, reason = review(await _body(request), self._cloud, now())
        self._cloud.calls.append(
            {
                "time": time.time(),
                "tenancy": tenancy and tenancy.compartment_id,
                "operation": "ReviewToken",
                "method": "GET",
                "path": "/cluster_request",
                "status": 200 if tenancy else 401,
                "reason": reason,
            }
        )
        return web.json_response(answer)

    # --- nodes ----------------------------------------------------------------------------------------------------

    async def steer_node(self, request: web.Request) -> web.Response:
        what = request.match_info["what"]
        _, _, node = self._node_pools.find(request.match_info["name"])
        if what == "die":
            await self._node_pools.die(node)
        elif what == "never_join":
            await self._node_pools.never_join(node)
        elif what == "no_gpu":
            await self._node_pools.no_gpu(node)
        else:
            raise invalid_parameter(f"{what} is not known; known are die, never_join, no_gpu")
        return web.json_response({"id": node.id, "name": node.name, "private_ip": node.private_ip})

    # --- engines --------------------------------------------------------------------------------------------------

    async def steer_engine(self, request: web.Request) -> web.Response:
        deployment, what = request.match_info["deployment"], request.match_info["what"]
        return web.json_response(self._engines.steer(deployment, what, await _body(request)))

    # --- objects --------------------------------------------------------------------------------------------------

    async def put_object(self, request: web.Request) -> web.Response:
        raw = request.raw_path.partition("?")[0].removeprefix("/objects/")
        parts = [unquote(part) for part in raw.split("/", 2)]
        if len(parts) < 3 or not parts[2]:
            raise invalid_parameter("the path is /objects/<namespace>/<bucket>/<name>")
        namespace, bucket_name, name = parts
        bucket = self._store.find(namespace, bucket_name)
        if bucket is None:
            raise no_bucket(bucket_name, namespace)

        async def chunks() -> AsyncIterator[bytes]:
            async for chunk in request.content.iter_chunked(CHUNK):
                yield chunk

        stored = await bucket.put(name, chunks(), size=_whole(request, "size"), part_size=_whole(request, "part_size"))
        return web.json_response({"name": stored.name, "size": stored.size, "md5": stored.md5, "etag": stored.etag})

    # --- block volumes --------------------------------------------------------------------------------------------

    async def add_volume(self, request: web.Request) -> web.Response:
        body = await _body(request)
        for name in ("size_gb", "namespace", "claim"):
            if name not in body:
                raise missing_parameter(name)
        tenancy, domain = self._place(body)
        ocid = body.get("id") or new_ocid("volume")
        tenancy.volumes[ocid] = Volume(
            id=ocid,
            name=body.get("name") or f"csi-{body['claim']}",
            size_gb=int(body["size_gb"]),
            namespace=body["namespace"],
            claim=body["claim"],
            availability_domain=domain,
        )
        return web.json_response({"id": ocid, "availability_domain": domain})

    def _place(self, body: dict[str, Any]) -> tuple[Tenancy, str]:
        """Whose volume it is and where: the tenancy named, else that of the node it goes to, else the default one."""
        if body.get("tenancy"):
            tenancy = self._cloud.tenancy(body["tenancy"])
            return tenancy, tenancy.domains[0]
        with contextlib.suppress(ServiceError):  # a Node that no node pool made
            tenancy, _, node = self._node_pools.find(body.get("node", ""))
            return tenancy, node.availability_domain
        return self._cloud.tenancies[0], self._cloud.tenancies[0].domains[0]

    async def remove_volume(self, request: web.Request) -> web.Response:
        for tenancy in self._cloud.tenancies:
            if tenancy.volumes.pop(request.match_info["id"], None):
                return web.json_response({})
        raise ServiceError(404, "NotFound", f"there is no volume {request.match_info['id']}")

    # --- load balancers -------------------------------------------------------------------------------------------

    async def add_load_balancer(self, request: web.Request) -> web.Response:
        """A new one, or one whose first node tells now whose it is."""
        body = await _body(request)
        for name in ("name", "address", "network"):
            if name not in body:
                raise missing_parameter(name)
        owner, _ = self._place(body)
        found = self._pop_load_balancer(body["name"]) or LoadBalancer(
            id=new_ocid("networkloadbalancer" if body["network"] else "loadbalancer"),
            name=body["name"],
            address=body["address"],
            network=bool(body["network"]),
        )
        owner.load_balancers[found.id] = found
        return web.json_response({"id": found.id})

    async def remove_load_balancer(self, request: web.Request) -> web.Response:
        if self._pop_load_balancer(request.query.get("name", "")) is None:
            raise ServiceError(404, "NotFound", f"there is no load balancer {request.query.get('name')}")
        return web.json_response({})

    def _pop_load_balancer(self, name: str) -> LoadBalancer | None:
        for tenancy in self._cloud.tenancies:
            for balancer in tenancy.load_balancers.values():
                if balancer.name == name:
                    return tenancy.load_balancers.pop(balancer.id)
        return None

    # --- state ----------------------------------------------------------------------------------------------------

    async def state(self, request: web.Request) -> web.Response:
        wanted = request.query.get("tenancy")
        tenancies = [self._cloud.tenancy(wanted)] if wanted else self._cloud.tenancies
        return web.json_response(
            {
                "tenancies": [self._tenancy_state(tenancy) for tenancy in tenancies],
                "scenarios": [scenario.as_json() for scenario in self._cloud.scenarios.all()],
                "calls": len(self._cloud.calls),
            }
        )

    def _tenancy_state(self, tenancy: Tenancy) -> dict[str, Any]:
        buckets = self._store.of(tenancy)
        return self._accounts.describe(tenancy) | {
            "node_pools": [_pool_state(pool) for pool in tenancy.pools.values()],
            "work_requests": [
                {
                    "id": one.id,
                    "operation": one.operation,
                    "status": one.status,
                    "resource": one.resource_id,
                    "errors": one.errors,
                }
                for one in tenancy.work_requests.values()
            ],
            "buckets": [
                {
                    "namespace": bucket.namespace,
                    "name": bucket.name,
                    "objects": [{"name": one.name, "size": one.size} for one in bucket.objects.values()],
                    "pars": [one.as_json() for one in self._pars.of(bucket)],
                }
                for bucket in buckets
            ],
            "volumes": [
                {"id": volume.id, "size_gb": volume.size_gb, "namespace": volume.namespace, "claim": volume.claim}
                for volume in tenancy.volumes.values()
            ],
            "load_balancers": [
                {"id": balancer.id, "name": balancer.name, "address": balancer.address}
                for balancer in tenancy.load_balancers.values()
            ],
        }


def _pool_state(pool: NodePool) -> dict[str, Any]:
    return {
        "id": pool.id,
        "name": pool.details["name"],
        "state": pool.state,
        "created": timestamp(pool.created),
        "shape": pool.details["nodeShape"],
        "size": pool.details["nodeConfigDetails"]["size"],
        "freeform_tags": pool.details.get("freeformTags") or {},
        "details": pool.details,
        "nodes": [
            {
                "id": node.id,
                "name": node.name,
                "state": node.state,
                "private_ip": node.private_ip,
                "availability_domain": node.availability_domain,
                "error": node.error,
                "joined": node.joined,
                "gpu_advertised": node.gpu_advertised,
            }
            for node in pool.nodes
        ],
    }


async def _body(request: web.Request, *needed: str) -> dict[str, Any]:
    text = await request.text()
    try:
        body = json.loads(text or "{}")
    except ValueError as error:
        raise invalid_parameter(f"the body is no JSON: {error}") from None
    if not isinstance(body, dict):
        raise invalid_parameter("the body is no JSON object")
    for name in needed:
        if not body.get(name):
            raise missing_parameter(name)
    return body


def _whole(request: web.Request, name: str) -> int | None:
    value = request.query.get(name)
    if value is None:
        return None
    if not value.isdigit() or int(value) == 0:
        raise invalid_parameter(f"{name} is {value!r}; expected a number of bytes")
    return int(value)


@web.middleware
async def _errors_as_json(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        return await handler(request)
    except ServiceError as error:
        return web.json_response({"code": error.code, "message": error.message}, status=error.status)
