# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reading from the Kubernetes API, every way to fail said as a fault."""

from __future__ import annotations

import functools
import json
import os
import shutil
import ssl
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

from ..core.credentials import bearer, header_value
from ..core.fault import Fault, Refused
from ..core.names import COLLECTION
from ..core.parts import inner
from ..core.version import VERSION
from ..deadline import within
from .answers import fault_of_answer, has_name, malformed, object_of
from .shapes import shaped
from .tls import tls_fault

try:
    import urllib3
    from kubernetes import client as kubernetes_client
    from kubernetes import config
    from kubernetes.config import kube_config

    IMPORT_ERROR = None
except ImportError:
    IMPORT_ERROR = traceback.format_exc()

# Seconds to connect and to answer: every read here is small.
CONNECT_SECONDS = 5
READ_SECONDS = 30
# What the API server's audit log has of whose requests these are.
USER_AGENT = f"{COLLECTION}/{VERSION}"
# Kubernetes API Concepts, "Alternate representations of resources".
_JSON_PATCH = "application/json-patch+json"
_METADATA_ALONE = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
# Codes of the faults of an API server that does not answer, or not as it should: they may have passed at the next read.
_PASSING = frozenset({"kubernetes", "unreachable"})
# An API server that has too much to do says so (429), and when to ask again: client-go does ten times.
BUSY_ATTEMPTS = 10
# However long it asks for: as many seconds, so that ten of them are within what a wait outlives.
LONGEST_PAUSE = 15
# For one answer, pauses included: a server that sends a byte now and then would meet no other limit.
LONGEST_SECONDS = BUSY_ATTEMPTS * LONGEST_PAUSE + 2 * READ_SECONDS
# For the command by which the user of a kubeconfig signs in.
COMMAND_SECONDS = 120.0
# For all pages of a list.
LONGEST_LIST = 600.0
MOST_BYTES = 128 * 1024 * 1024
# A list is read in pages of so many, and so many of them: 100,000 objects of one kind.
PAGE, MOST_PAGES = 500, 200
# The library keeps a list of its temporary files, which `connect` clears.
_CONNECTING = threading.Lock()
_DISCOVERY = 3
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

_Read = TypeVar("_Read")


def part(name: str) -> str:
    """Return a name as one part of a path: a slash in it leads nowhere else."""
    return quote(name, safe="")


def may_pass(faults: Iterable[Fault]) -> bool:
    """Tell whether the API server does not answer, or not as it should; whom it does not know is another matter."""
    return {fault.code for fault in faults} <= _PASSING


def unless_forbidden(read: Callable[[], _Read]) -> _Read | None:
    """Return what is read, None where the user may not read it."""
    try:
        return read()
    except Refused as refused:
        if any(fault.code != "forbidden" for fault in refused.faults):
            raise
        return None


class _Patient(urllib3.Retry if IMPORT_ERROR is None else object):  # type: ignore[misc]
    """Waits as long as a busy API server asks for, but for no hours."""

    def get_retry_after(self, response: Any) -> float | None:
        wanted = super().get_retry_after(response)
        return None if wanted is None else min(wanted, LONGEST_PAUSE)


class Kubernetes:
    """A cluster that is read, over one connection pool. Objects are the API's own JSON."""

    def __init__(
        self, client: Any, token: Callable[[], str] | None = None, authorities: frozenset[bytes] = frozenset()
    ) -> None:
        """`authorities`: the certificates (DER) that the API server's has to be signed by; empty where none is named."""
        self.authorities = authorities
        self._client = client
        self._token = token
        self.host: str = client.configuration.host
        # How the user is known, as faults name it.
        self.signed_in_by = "token" if token else "kubeconfig"

    def _headers(self) -> dict[str, str]:
        # Exactly what it is: kubernetes.core and Helm send the same one as it stands, and the first would print it.
        headers = {"Accept": "application/json, */*", "User-Agent": USER_AGENT}
        if self._token is not None:
            return {**headers, "authorization": bearer(self._token(), self.signed_in_by, exact=True)}
        # The library renews a token of the kubeconfig's exec command when its settings are asked for.
        for entry in self._client.configuration.auth_settings().values():
            if entry.get("value"):
                words = entry["value"].split(" ", 1)
                headers[entry["key"]] = " ".join(header_value(word, self.signed_in_by, exact=True) for word in words)
        return headers

    def read(self, path: str, **query: Any) -> bytes | None:
        """Return the body of a GET of `path`, or None where there is no such thing (404). Raises Refused."""
        return self._ask("GET", path, fields={key: str(value) for key, value in query.items() if value is not None})

    def allows(self, attributes: Mapping[str, str]) -> bool:
        """Tell whether the user has a right: the resourceAttributes of a SelfSubjectAccessReview, which changes nothing."""
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": dict(attributes)},
        }
        answer = object_of(self._ask("POST", _REVIEWS, body=json.dumps(body)), _REVIEWS)
        return inner(answer, "status").get("allowed") is True

    def create(self, path: str, item: Mapping[str, Any]) -> bool:
        """Make an object where there is none of its name; False where there is one (409), which stays as it is.

        The one write that kubernetes.core has not: it changes what it finds. Raises Refused, also where its namespace is gone.
        """
        try:
            if self._ask("POST", path, body=json.dumps(item)) is None:
                raise Refused([malformed(path, "404 of a namespace, or a kind, that is not there")])
        except Refused as refused:
            if [fault.code for fault in refused.faults] != ["exists"]:
                raise
            return False
        return True

    def edit(self, path: str, operations: list[dict[str, Any]]) -> bool:
        """Apply a JSON patch (RFC 6902); False where there is no such object. Raises Refused, `conflict` where a `test` fails.

        For the Lease, which a thread renews during a task, where no module can run.
        """
        return self._ask("PATCH", path, body=json.dumps(operations), content_type=_JSON_PATCH) is not None

    def delete(self, path: str, resource_version: str) -> bool:
        """Delete the object of this version; False where there is none. Raises Refused, `conflict` where it has changed."""
        body = {"preconditions": {"resourceVersion": resource_version}}
        return self._ask("DELETE", path, body=json.dumps(body)) is not None

    def metadata(self, path: str, **query: str) -> list[dict[str, Any]]:
        """Like `items`, of each object its metadata alone: what Secrets hold stays where it is."""
        return self._pages(path, query, _METADATA_ALONE)

    def _ask(
        self, method: str, path: str, accept: str = "", content_type: str = "application/json", **content: Any
    ) -> bytes | None:
        request = functools.partial(self._request, method, path, accept, content_type, **content)
        try:
            status, body = within(LONGEST_SECONDS, request)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Refused([self._unreachable(error)]) from None
        if status == 404:
            return None
        if len(body) > MOST_BYTES:
            raise Refused([malformed(path, f"an answer of more than {MOST_BYTES} bytes")])
        if status >= 300:
            raise Refused([fault_of_answer(status, body, f"{method} {path}", self.signed_in_by)])
        return body

    def _request(self, method: str, path: str, accept: str, content_type: str, **content: Any) -> tuple[int, bytes]:
        """Return status and body of one answer, of the body a byte more than MOST_BYTES at most."""
        answer = self._client.rest_client.pool_manager.request(
            method,
            self.host + path,
            **content,
            headers={
                **self._headers(),
                **({"Accept": accept} if accept else {}),
                **({"Content-Type": content_type} if "body" in content else {}),
            },
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
            # A connection that was closed while it lay idle is tried again; an API server that is away is not waited for.
            retries=_Patient(
                total=BUSY_ATTEMPTS,
                connect=1,
                read=1,
                redirect=0,
                other=0,
                allowed_methods=None,  # a review changes nothing either
                raise_on_status=False,
            ),
            preload_content=False,
        )
        try:
            return answer.status, bytes(answer.read(MOST_BYTES + 1))
        finally:
            # A connection that was read to its end is kept for the next request.
            answer.close()

    def get(self, path: str, **query: Any) -> Any:
        """Like `read`, and the body is JSON, of whose parts those count that have the API's types."""
        body = self.read(path, **query)
        if body is None:
            return None
        item = shaped(object_of(body, path))
        # Version and discovery (/apis/<group>/<version>) are about nothing that has a name.
        if path.count("/") > _DISCOVERY and not has_name(item):
            raise Refused([malformed(path)])
        return item

    def items(self, path: str, **query: Any) -> list[dict[str, Any]]:
        """Return the items of a list, all pages; none where the kind does not exist."""
        return self._pages(path, query)

    def _pages(self, path: str, query: Mapping[str, Any], accept: str = "") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        fields = {**{key: str(value) for key, value in query.items()}, "limit": str(PAGE)}
        began = time.monotonic()
        for _page in range(MOST_PAGES):
            if time.monotonic() - began > LONGEST_LIST:
                raise Refused([malformed(path, f"a list that takes longer than {LONGEST_LIST:.0f} s")])
            body = self._ask("GET", path, fields=fields, accept=accept)
            if body is None:
                break
            answer = object_of(body, path)
            items = answer.get("items") or []
            if not isinstance(items, list) or not all(has_name(item) for item in items):
                raise Refused([malformed(path)])
            found += map(shaped, items)
            fields["continue"] = str(inner(answer, "metadata").get("continue") or "")
            if not fields["continue"]:
                break
        else:
            raise Refused([malformed(path, f"a list of more than {PAGE * MOST_PAGES} objects")])
        return found

    def _unreachable(self, error: BaseException) -> Fault:
        if fault := tls_fault(self.host, error):
            return fault
        cause = getattr(error, "reason", None) or error
        return Fault(
            "unreachable",
            f"Kubernetes API {self.host}",
            f"no answer ({str(cause).rpartition(': ')[2]})",
            "an API server that answers",
            "check the address; a private endpoint is reached from inside its network only",
        )


def connect(
    kubeconfig: str | Mapping[str, Any] | None = None,
    context: str | None = None,
    *,
    host: str | None = None,
    api_key: str | None = None,
    ca_cert: str | None = None,
    validate_certs: bool | None = None,
    token: Callable[[], str] | None = None,
    strict: bool = True,
) -> Kubernetes:
    """Return a client for a cluster. Raises Refused; whether the cluster answers shows with the first read.

    What is not given is taken from the K8S_AUTH_* variables, in kubernetes.core's order: host and token together; else
    a kubeconfig, which is that of KUBECONFIG or ~/.kube/config at last. A token takes the place of the kubeconfig's user.

    kubeconfig  a path, or a mapping that names the cluster's address and authority only
    token       called for a token whenever one is needed, in place of `api_key`
    strict      whether the certificate is checked as strictly as this Python does by default
    """
    if IMPORT_ERROR:
        raise _refused("library", "Python", "no library `kubernetes`", "31 or newer", "pip install -r requirements.txt")
    kubeconfig = kubeconfig or os.environ.get("K8S_AUTH_KUBECONFIG")
    host = host or os.environ.get("K8S_AUTH_HOST")
    api_key = api_key or os.environ.get("K8S_AUTH_API_KEY")
    ca_cert = ca_cert or os.environ.get("K8S_AUTH_SSL_CA_CERT") or os.environ.get("K8S_AUTH_CA_CERT")
    if validate_certs is None:
        validate_certs = _truth("K8S_AUTH_VERIFY_SSL", "K8S_AUTH_VALIDATE_CERTS")
    if token is None and api_key:
        token = functools.partial(str, api_key)
    with _CONNECTING:
        if host and token:
            settings = kubernetes_client.Configuration(host=host.rstrip("/"))
        else:
            settings = _read_kubeconfig(kubeconfig, context or os.environ.get("K8S_AUTH_CONTEXT"), token is not None)
            settings.host = (host or settings.host).rstrip("/")
        if ca_cert:
            settings.ssl_ca_cert = os.path.expanduser(ca_cert)
        if validate_certs is not None:
            settings.verify_ssl = validate_certs
        try:
            client = kubernetes_client.ApiClient(settings)
        except Exception as error:  # urllib3's of an address or a proxy that can be none
            found = f"its cluster cannot be asked ({type(error).__name__})"
            raise _refused("kubeconfig", "kubeconfig", found, "a server and a proxy-url", "correct it") from None
        try:
            authorities = _read_certificates(client, strict)
        except OSError as error:  # ssl's errors are OSErrors too
            where = ca_cert or "kubeconfig"
            raise _refused("certificates", where, f"they cannot be read: {error}", "certificates in PEM", "") from None
    return Kubernetes(client, token, authorities)


def _read_certificates(client: Any, strict: bool) -> frozenset[bytes]:
    """Let the client hold its certificates in memory; return the authorities that are named.

    The library writes those of a kubeconfig, a user's key among them, to files for its connections, and removes them when
    the program exits; a process that Ansible forked never gets there.
    """
    settings = client.configuration
    if not settings.host.startswith("https"):
        return frozenset()
    context = urllib3.util.ssl_.create_urllib3_context(cert_reqs=None if settings.verify_ssl else ssl.CERT_NONE)
    if not strict:
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    named: list[bytes] = []
    if settings.ssl_ca_cert:
        context.load_verify_locations(settings.ssl_ca_cert)
        named = context.get_ca_certs(binary_form=True)
    else:
        context.load_default_certs()
    if settings.cert_file:
        context.load_cert_chain(settings.cert_file, settings.key_file)
    pool = client.rest_client.pool_manager.connection_pool_kw
    for name in ("cert_reqs", "ca_certs", "cert_file", "key_file"):
        pool.pop(name, None)
    pool["ssl_context"] = context
    kube_config._cleanup_temp_files()  # what the library itself runs at the exit
    return frozenset(named)


def _truth(*variables: str) -> bool | None:
    """Return what the first of the variables that is set says, as kubernetes.core reads it."""
    value = next((os.environ[name] for name in variables if os.environ.get(name)), None)
    return None if value is None else value.lower() not in ("0", "false", "no")


def _read_kubeconfig(given: str | Mapping[str, Any] | None, context: str | None, has_token: bool) -> Any:
    settings = kubernetes_client.Configuration()
    where = "the mapping" if isinstance(given, Mapping) else given or os.environ.get("KUBECONFIG") or "~/.kube/config"
    try:
        if isinstance(given, Mapping):
            config.load_kube_config_from_dict(dict(given), context, settings, persist_config=False)
        else:
            path = os.path.expanduser(where)
            command = None if has_token else _command_of(path, context)
            if command and not (os.sep in command or shutil.which(command)):
                raise _command_fault("kubeconfig_command_missing", where, command, "program not found")
            load = functools.partial(config.load_kube_config, path, context, settings, persist_config=False)
            try:
                within(COMMAND_SECONDS, load)
            except TimeoutError:
                words = f"it gave no token within {COMMAND_SECONDS:.0f} s"
                raise _command_fault("kubeconfig_command_failed", where, command or "", words) from None
            # The library only logs why a command gave nothing, and goes on as nobody.
            if command and not (settings.api_key or settings.cert_file):
                raise _command_fault("kubeconfig_command_failed", where, command, "it gave no token")
    except Refused:
        raise
    except Exception as error:  # the library lets YAML's, base64's and its own errors through
        problem = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise _refused(
            "kubeconfig",
            "kubeconfig",
            f"{where}: {problem}",
            "a kubeconfig that can be used",
            "give `kubeconfig` (and `kubeconfig_context`) of the cluster",
        ) from None
    return settings


def _command_of(path: str, context: str | None) -> str | None:
    """Return the command that gives the token of the kubeconfig's user, None where it has none."""
    merged = kube_config.KubeConfigMerger(path).config
    if merged is None:
        return None
    active = merged["contexts"].get_with_name(context or merged["current-context"])["context"]
    user = merged["users"].get_with_name(active["user"], safe=True) if active.safe_get("user") else None
    command = user["user"].safe_get("exec") if user else None
    return str(command["command"]) if command else None


def _command_fault(code: str, path: Any, command: str, problem: str) -> Refused:
    return _refused(
        code,
        "kubeconfig",
        f"the user of {path} signs in by the command `{command}`: {problem}",
        "a command that gives a token",
        "with oke_cluster_id remove kubeconfig (unset KUBECONFIG too): the OCI sign-in makes the tokens then; "
        f"else see why `{command}` does not work",
    )


def _refused(code: str, where: str, found: str, expected: str, remedy: str) -> Refused:
    return Refused([Fault(code, where, found, expected, remedy)])


def argument_spec() -> dict[str, Any]:
    """Return the module options by which a cluster is reached; kubernetes.core's names."""
    return {
        "kubeconfig": {"type": "raw"},
        "context": {"type": "str"},
        "host": {"type": "str"},
        "api_key": {"type": "str", "no_log": True},
        "ca_cert": {"type": "path", "aliases": ["ssl_ca_cert"]},
        "validate_certs": {"type": "bool", "aliases": ["verify_ssl"]},
    }


def connect_as_asked(arguments: Mapping[str, Any]) -> Kubernetes:
    """Return the client for the values of the options of `argument_spec`. Raises Refused."""
    kubeconfig = arguments.get("kubeconfig") or None
    if isinstance(kubeconfig, Mapping) and kubeconfig.get("users"):
        # What a user of it holds would show in the module's invocation.
        raise _refused(
            "kubeconfig", "kubeconfig", "a mapping with users", "a path, or no users", "give api_key beside it"
        )
    options: dict[str, Any] = {name: arguments.get(name) for name in ("host", "api_key", "ca_cert", "validate_certs")}
    return connect(kubeconfig, arguments.get("context") or None, **options)
