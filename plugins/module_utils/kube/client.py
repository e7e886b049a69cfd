# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reading from the Kubernetes API, every way to fail said as a fault."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Mapping
from typing import Any

from ..planning.fault import Fault, Refused

try:
    import urllib3
    from kubernetes import config

    IMPORT_ERROR = None
except ImportError:
    IMPORT_ERROR = traceback.format_exc()

# Seconds to connect and to answer: every read here is small.
CONNECT_SECONDS = 5
READ_SECONDS = 30


class Kubernetes:
    """A cluster that is read, over one connection pool. Objects are the API's own JSON."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.host: str = client.configuration.host

    def read(self, path: str, **query: Any) -> bytes | None:
        """Return the body of a GET of `path`, or None where there is no such thing (404). Raises Refused."""
        headers = {"Accept": "application/json, */*"}
        # The library renews a token of the kubeconfig's exec command when its settings are asked for.
        for entry in self._client.configuration.auth_settings().values():
            if entry.get("value"):
                headers[entry["key"]] = entry["value"]
        fields = {key: str(value) for key, value in query.items() if value is not None}
        try:
            answer = self._client.rest_client.pool_manager.request(
                "GET",
                self.host + path,
                fields=fields,
                headers=headers,
                timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
                # A connection that was closed while it lay idle is tried again; an API server that is away is not waited for.
                retries=urllib3.Retry(total=1, redirect=0),
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Refused([self._unreachable(error)]) from None
        if answer.status == 404:
            return None
        if answer.status >= 400:
            raise Refused([_api_fault(answer.status, answer.data, path)])
        return bytes(answer.data)

    def get(self, path: str, **query: Any) -> Any:
        """Like `read`, and the body is JSON."""
        body = self.read(path, **query)
        return None if body is None else json.loads(body)

    def items(self, path: str, **query: Any) -> list[dict[str, Any]]:
        """Return the items of a list; none where the kind does not exist."""
        answer = self.get(path, **query)
        return list(answer.get("items") or []) if answer else []

    def _unreachable(self, error: BaseException) -> Fault:
        cause = getattr(error, "reason", None) or error
        return Fault(
            "unreachable",
            f"Kubernetes API {self.host}",
            f"no answer ({str(cause).rpartition(': ')[2]})",
            "an API server that answers",
            "check the address in the kubeconfig; a private endpoint is reached from inside its network only",
        )


def _api_fault(status: int, body: bytes, path: str) -> Fault:
    """Return the fault that an answer of the API server means, in its own words."""
    try:
        message = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        message = body.decode(errors="replace")[:200].strip() or "no message"
    if status == 401:
        return Fault(
            "unauthorized",
            "kubeconfig",
            f"401 {message} (GET {path})",
            "a user that the cluster knows",
            "renew the kubeconfig's credentials",
        )
    if status == 403:
        return Fault(
            "forbidden",
            "kubeconfig",
            f"403 {message}",
            "the right to read it",
            "give the user this right, or use another user",
        )
    return Fault(
        "kubernetes", "Kubernetes API", f"{status} {message} (GET {path})", "an answer", "running again is safe"
    )


def connect(kubeconfig: str | None = None, context: str | None = None) -> Kubernetes:
    """Return a client for the cluster that a kubeconfig names (without one: KUBECONFIG, then ~/.kube/config).

    Raises Refused where the file does not serve; whether the cluster answers shows with the first read.
    """
    if IMPORT_ERROR:
        raise Refused(
            [
                Fault(
                    "library",
                    "Python",
                    "no library `kubernetes`",
                    "version 31 or newer",
                    "pip install -r requirements.txt",
                )
            ]
        )
    path = kubeconfig or os.environ.get("K8S_AUTH_KUBECONFIG") or os.environ.get("KUBECONFIG") or "~/.kube/config"
    try:
        client = config.new_client_from_config(os.path.expanduser(path), context, persist_config=False)
    except Exception as error:  # the library lets YAML's, base64's and its own errors through
        problem = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Refused(
            [
                Fault(
                    "kubeconfig",
                    "kubeconfig",
                    f"{path}: {problem}",
                    "a kubeconfig that can be used",
                    "give `kubeconfig` (and `kubeconfig_context`) of the cluster",
                )
            ]
        ) from None
    return Kubernetes(client)


def argument_spec() -> dict[str, Any]:
    """Return the module options by which a cluster is reached."""
    return {"kubeconfig": {"type": "path"}, "context": {"type": "str"}}


def connect_as_asked(arguments: Mapping[str, Any]) -> Kubernetes:
    """Return the client for the values of the options of `argument_spec`."""
    return connect(arguments.get("kubeconfig") or None, arguments.get("context") or None)
