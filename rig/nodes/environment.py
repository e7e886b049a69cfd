# SPDX-License-Identifier: GPL-3.0-or-later
"""The environment of a container, as the kubelet makes it.

Facts imitated (kubelet_pods.go, third_party/forked/golang/expansion):
- envFrom first, then env in order, each seeing those before it; `$(NAME)` is replaced where NAME is known, `$$` is a dollar sign
- a missing Secret, ConfigMap or key that is not optional: CreateContainerConfigError with the kubelet's words
- variables for the services of the namespace (enableServiceLinks), and for the service `kubernetes` always: a Service named `vllm` gives
  VLLM_PORT, which vLLM reads
- resourceFieldRef falls back to the node's allocatable when there is no limit
"""

from __future__ import annotations

import base64
import dataclasses
import re
from collections.abc import Awaitable, Callable
from typing import Any

from rig.nodes.quantities import in_units

Object = dict[str, Any]
_REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")
_SUBSCRIPT = re.compile(r"^metadata\.(labels|annotations)\['(.*)'\]$")


class ConfigError(Exception):
    """A container cannot be made of what its pod says (CreateContainerConfigError)."""


@dataclasses.dataclass(frozen=True)
class Context:
    """What a pod's fields refer to. `secret` and `config_map` give an object of the pod's namespace, None when it is not there."""

    pod: Object
    pod_ip: str
    host_ip: str
    allocatable: dict[str, str]
    services: list[Object]
    secret: Callable[[str], Awaitable[Object | None]]
    config_map: Callable[[str], Awaitable[Object | None]]


def expand(text: str, known: dict[str, str]) -> str:
    """Replace `$(NAME)` by the known value of NAME; unknown ones stay as they are."""

    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return known.get(match[1], match[0])

    return _REFERENCE.sub(value, text)


async def variables(container: Object, context: Context, image: dict[str, str]) -> dict[str, str]:
    """All variables of `container`: those of the image, of the services, and of the pod's own fields, the later winning."""
    services = service_variables(context)
    own: dict[str, str] = {}
    for source in container.get("envFrom", []):
        own.update(await _all_keys(source, context))
    for entry in container.get("env", []):
        name, source = entry["name"], entry.get("valueFrom")
        if source is None:
            own[name] = expand(entry.get("value", ""), {**services, **own})
        else:
            value = await _value(source, container, context)
            if value is not None:
                own[name] = value
    return {**image, **services, **own}


async def _all_keys(source: Object, context: Context) -> dict[str, str]:
    prefix = source.get("prefix", "")
    if "secretRef" in source:
        found, data = await _secret(source["secretRef"], context), "secret"
    else:
        found, data = await _config_map(source["configMapRef"], context), "configmap"
    values = {} if found is None else _text(found, data == "secret")
    return {prefix + key: value for key, value in values.items()}


async def _value(source: Object, container: Object, context: Context) -> str | None:
    if "fieldRef" in source:
        return field(source["fieldRef"]["fieldPath"], context)
    if "resourceFieldRef" in source:
        return resource(source["resourceFieldRef"], container, context)
    if "secretKeyRef" in source:
        reference, kind = source["secretKeyRef"], "Secret"
        found = await _secret(reference, context)
    else:
        reference, kind = source["configMapKeyRef"], "ConfigMap"
        found = await _config_map(reference, context)
    values = {} if found is None else _text(found, kind == "Secret")
    if reference["key"] not in values:
        if reference.get("optional"):
            return None
        namespace = context.pod["metadata"]["namespace"]
        raise ConfigError(f"couldn't find key {reference['key']} in {kind} {namespace}/{reference['name']}")
    return values[reference["key"]]


async def _secret(reference: Object, context: Context) -> Object | None:
    return _needed(await context.secret(reference["name"]), reference, "secret")


async def _config_map(reference: Object, context: Context) -> Object | None:
    return _needed(await context.config_map(reference["name"]), reference, "configmap")


def _needed(found: Object | None, reference: Object, kind: str) -> Object | None:
    if found is None and not reference.get("optional"):
        raise ConfigError(f'{kind} "{reference["name"]}" not found')
    return found


def _text(found: Object, secret: bool) -> dict[str, str]:
    data = found.get("data") or {}
    return {key: base64.b64decode(value).decode() for key, value in data.items()} if secret else dict(data)


def field(path: str, context: Context) -> str:
    """A field of the pod, as the downward API gives it."""
    pod = context.pod
    metadata, spec = pod["metadata"], pod["spec"]
    if match := _SUBSCRIPT.match(path):
        return metadata.get(match[1], {}).get(match[2], "")
    if path in ("metadata.labels", "metadata.annotations"):
        return "\n".join(f'{key}="{value}"' for key, value in sorted(metadata.get(path[9:], {}).items()))
    values = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata["namespace"],
        "metadata.uid": metadata["uid"],
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "status.podIP": context.pod_ip,
        "status.podIPs": context.pod_ip,
        "status.hostIP": context.host_ip,
        "status.hostIPs": context.host_ip,
    }
    if path not in values:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return values[path]


def resource(reference: Object, container: Object, context: Context) -> str:
    """A limit or request of a container, in units of the reference's divisor."""
    if name := reference.get("containerName"):
        every = [*context.pod["spec"].get("initContainers", []), *context.pod["spec"]["containers"]]
        container = next(one for one in every if one["name"] == name)
    kind, _, resource_name = reference["resource"].partition(".")
    resources = container.get("resources", {})
    amount = resources.get(kind, {}).get(resource_name)
    if amount is None:
        amount = context.allocatable.get(resource_name, "0") if kind == "limits" else "0"
    divisor = reference.get("divisor") or "1"
    return str(in_units(amount, "1" if divisor == "0" else divisor))


def service_variables(context: Context) -> dict[str, str]:
    """The variables that announce services: those of the pod's namespace where it wants them, and `kubernetes`."""
    namespace = context.pod["metadata"]["namespace"]
    links = context.pod["spec"].get("enableServiceLinks", True)
    made: dict[str, str] = {}
    for service in context.services:
        metadata, spec = service["metadata"], service["spec"]
        master = (metadata["namespace"], metadata["name"]) == ("default", "kubernetes")
        address = spec.get("clusterIP")
        if not address or address == "None" or not (master or (links and metadata["namespace"] == namespace)):
            continue
        made.update(_announce(metadata["name"], address, spec.get("ports", [])))
    return made


def _announce(name: str, address: str, ports: list[Object]) -> dict[str, str]:
    prefix = name.upper().replace("-", "_")
    made = {f"{prefix}_SERVICE_HOST": address}
    for index, port in enumerate(ports):
        number, protocol = port["port"], port.get("protocol", "TCP")
        url = f"{protocol.lower()}://{address}:{number}"
        if index == 0:
            made |= {f"{prefix}_SERVICE_PORT": str(number), f"{prefix}_PORT": url}
        if port.get("name"):
            made[f"{prefix}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(number)
        one = f"{prefix}_PORT_{number}_{protocol}"
        made |= {one: url, f"{one}_PROTO": protocol.lower(), f"{one}_PORT": str(number), f"{one}_ADDR": address}
    return made
