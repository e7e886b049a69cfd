# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Signing in to Oracle Cloud, and one client per service.

The SDK's circuit breaker is off: it answers in the service's place once ten calls have failed, and then the user reads
of an open circuit instead of the fault. Each call here ends after a bounded number of tries anyway.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from ..core.credentials import header_value
from ..core.fault import Fault, Refused
from .errors import bound_answers, explained, is_service_error
from .retry import Retry

try:
    import oci
except ImportError:  # reported when somebody signs in
    oci = None

AUTHENTICATION_TYPES = ("api_key", "security_token", "instance_principal", "resource_principal", "workload_identity")
DEFAULT_CONFIG_FILE = "~/.oci/config"

# A list at most; OCI's pages have up to 1000 entries, and may be empty.
MOST_PAGES, MOST_ITEMS = 1000, 100_000

# service -> (module, class) of the SDK; the names are the keys of oci_service_endpoint too.
SERVICES = {
    "container_engine": ("container_engine", "ContainerEngineClient"),
    "identity": ("identity", "IdentityClient"),
    "compute": ("core", "ComputeClient"),
    "virtual_network": ("core", "VirtualNetworkClient"),
    "limits": ("limits", "LimitsClient"),
    "block_storage": ("core", "BlockstorageClient"),
    "load_balancer": ("load_balancer", "LoadBalancerClient"),
    "network_load_balancer": ("network_load_balancer", "NetworkLoadBalancerClient"),
    "object_storage": ("object_storage", "ObjectStorageClient"),
    "file_storage": ("file_storage", "FileStorageClient"),
}


# Option -> what gives it where it is not given; both are names of the oracle.oci collection (its oci_config_utils.py).
ENVIRONMENT = {
    "auth_type": "OCI_ANSIBLE_AUTH_TYPE",
    "config_file_location": "OCI_CONFIG_FILE",
    "config_profile_name": "OCI_CONFIG_PROFILE",
    "api_user": "OCI_USER_ID",
    "api_user_fingerprint": "OCI_USER_FINGERPRINT",
    "api_user_key_file": "OCI_USER_KEY_FILE",
    "api_user_key_pass_phrase": "OCI_USER_KEY_PASS_PHRASE",
    "tenancy": "OCI_TENANCY",
    "cert_bundle": "OCI_ANSIBLE_CERT_BUNDLE",
}


@dataclass(frozen=True)
class SignIn:
    """How to sign in. Empty means not given; option and environment names are those of the oracle.oci collection."""

    auth_type: str = "api_key"
    config_file_location: str = ""
    config_profile_name: str = ""
    api_user: str = ""
    api_user_fingerprint: str = ""
    api_user_key_file: str = ""
    api_user_key_pass_phrase: str = field(default="", repr=False)
    tenancy: str = ""
    region: str = ""
    cert_bundle: str = ""
    service_endpoint: str | dict[str, str] = ""


def sign_in_by(given: Mapping[str, Any]) -> SignIn:
    """Return the sign-in of options or settings, completed from the environment. Raises Refused."""
    if oci is None:
        raise _refused("library", "Python", "no library `oci`", "2.150.0 or newer", "pip install -r requirements.txt")
    values = {name: given.get(name) or os.environ.get(variable) or "" for name, variable in ENVIRONMENT.items()}
    auth_type = values.pop("auth_type") or "api_key"
    if auth_type not in AUTHENTICATION_TYPES:
        names = ", ".join(AUTHENTICATION_TYPES)
        raise _refused("auth_type", "auth_type", auth_type, f"one of {names}", f"see {ENVIRONMENT['auth_type']}")
    endpoint = checked_endpoint(given.get("oci_service_endpoint") or "")
    return SignIn(auth_type=auth_type, region=given.get("region") or "", service_endpoint=endpoint, **values)


def checked_endpoint(given: str | Mapping[str, Any]) -> str | dict[str, str]:
    """Return oci_service_endpoint, a URL or a mapping of service to URL, without slashes at the end. Raises Refused."""
    urls = dict(given) if isinstance(given, Mapping) else {"": given} if given else {}
    faults = []
    for service, url in urls.items():
        if service and service not in SERVICES:
            found, expected = f"unknown service {service}", ", ".join(sorted(SERVICES))
        elif not isinstance(url, str) or not url.startswith(("https://", "http://")):
            found, expected = str(url), "a URL that begins with https:// or http://"
        else:
            continue
        faults.append(Fault("oci_service_endpoint", "oci_service_endpoint", found, expected))
    if faults:
        raise Refused(faults)
    if isinstance(given, Mapping):
        return {service: url.rstrip("/") for service, url in urls.items()}
    return given.rstrip("/")


def region_of_ocid(ocid: str) -> str:
    """Return the region that an OCID names, or "" when it names none.

    An OCID is ocid1.<type>.<realm>.<region>.<unique id>; the region is its key (iad) or its name (us-ashburn-1).
    """
    parts = ocid.split(".")
    if len(parts) < 5 or parts[0] != "ocid1" or not parts[3]:
        return ""
    return str(oci.regions.get_region_from_short_name(parts[3].lower()))


def is_region(name: str) -> bool:
    """Tell whether Oracle Cloud has a region of this name, as far as the SDK knows: nothing else becomes a host's name."""
    return name in oci.regions.REGION_REALMS


class Connection:
    """The signed-in account: a client per service, created on first use.

    resource_ocid  an OCID whose region counts when no region is given
    """

    def __init__(self, sign_in: SignIn, resource_ocid: str = "", retry: Retry | None = None) -> None:
        self.sign_in = sign_in
        self.retry = retry or Retry()
        self.config, self.signer = _signed_in(sign_in)
        self.region = (
            sign_in.region
            or region_of_ocid(resource_ocid)
            or os.environ.get("OCI_REGION", "")
            or self.config.get("region")
            or getattr(self.signer, "region", None)
            or ""
        )
        if not self.region:
            raise Refused([Fault("oci_region_missing", "region", "not given, and nothing names it", "", "set region")])
        self.config["region"] = self.region
        self._clients: dict[str, Any] = {}

    @property
    def tenancy(self) -> str:
        """OCID of the account that is signed in, "" where the sign-in does not name it."""
        return str(self.config.get("tenancy") or getattr(self.signer, "tenancy_id", None) or "")

    def endpoint(self, service: str) -> str:
        """Return the URL given for `service`, "" for the region's own."""
        given = self.sign_in.service_endpoint
        return (given.get(service) or "") if isinstance(given, dict) else given

    def client(self, service: str) -> Any:
        """Return the SDK's client of `service` (a key of `SERVICES`)."""
        if service not in self._clients:
            module_name, class_name = SERVICES[service]
            arguments: dict[str, Any] = {
                "retry_strategy": self.retry,
                "circuit_breaker_strategy": oci.circuit_breaker.NoCircuitBreakerStrategy(),
                "timeout": (10, 60),
                "signer": self.signer,
            }
            if self.endpoint(service):
                arguments["service_endpoint"] = self.endpoint(service)
            client = getattr(getattr(oci, module_name), class_name)(self.config, **arguments)
            bound_answers(client.base_client.session)
            if self.sign_in.cert_bundle:
                client.base_client.session.verify = os.path.expanduser(self.sign_in.cert_bundle)
            self._clients[service] = client
        return self._clients[service]

    def asking(
        self, service: str, doing: str, where: str, policy: str = "", ambiguous_remedy: str = ""
    ) -> AbstractContextManager[None]:
        """Explain what goes wrong inside the `with` block; see `errors.service_fault` for the words."""
        return explained(
            doing,
            where,
            policy=policy,
            endpoint=self.client(service).base_client.endpoint,
            sign_in=self._sign_in_words(),
            ambiguous_remedy=ambiguous_remedy,
        )

    def _sign_in_words(self) -> str:
        if self.sign_in.auth_type == "security_token":
            return "a session token ends after an hour: run oci session authenticate or oci session refresh"
        if self.sign_in.auth_type != "api_key":
            return f"signed in by {self.sign_in.auth_type}"
        own = _key_fingerprint(self.signer)
        given = self.config.get("fingerprint", "")
        if own and given and own != given:
            return f"the key {self.config.get('key_file')} has fingerprint {own}, the sign-in names {given}"
        return f"signed in as {self.config.get('user')} with key {given}"


def all_pages(call: Callable[..., Any], **arguments: Any) -> Iterator[Any]:
    """Yield the items of all pages of a list call; a page may be empty and still have a next one.

    A page is a list, in newer services a collection that holds one.
    """
    page, items = None, 0
    for _number in range(MOST_PAGES):
        response = call(**arguments, **({"page": page} if page else {}))
        found = list(getattr(response.data, "items", response.data) or ())
        yield from found
        items += len(found)
        page = response.headers.get("opc-next-page")
        if not page:
            return
        if items > MOST_ITEMS:
            break
    raise _refused("cloud_list_endless", "Oracle Cloud", f"a list of more than {items} entries", "a list that ends", "")


def _key_fingerprint(signer: Any) -> str:
    """The fingerprint OCI knows an API key by: MD5 of the public key in DER form."""
    import hashlib

    from cryptography.hazmat.primitives import serialization

    key = getattr(signer, "private_key", None)
    if key is None:
        return ""
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    digest = hashlib.md5(public, usedforsecurity=False).hexdigest()
    return ":".join(digest[start : start + 2] for start in range(0, len(digest), 2))


def _signed_in(sign_in: SignIn) -> tuple[dict[str, Any], Any]:
    """Return the SDK's configuration and signer, or refuse with what is wrong with the sign-in."""
    try:
        if sign_in.auth_type in ("api_key", "security_token"):
            return _signed_in_by_file(sign_in)
        return {}, _principal_signer(sign_in)
    except Refused:
        raise
    except oci.exceptions.ConfigFileNotFound as error:
        raise _refused(
            "oci_config_missing",
            _config_file(sign_in),
            "there is no such file",
            "an OCI configuration file",
            "set config_file_location or OCI_CONFIG_FILE, or make one with `oci setup config`",
        ) from error
    except oci.exceptions.ProfileNotFound as error:
        raise _refused(
            "oci_profile_missing",
            _config_file(sign_in),
            f"it has no profile {_profile(sign_in)}",
            "",
            "set config_profile_name or OCI_CONFIG_PROFILE",
        ) from error


def _signed_in_by_file(sign_in: SignIn) -> tuple[dict[str, Any], Any]:
    config = _configuration(sign_in)
    source = _config_file(sign_in)
    key_file = os.path.expanduser(config.get("key_file") or "")
    if not config.get("key_content"):
        if not key_file:
            raise _refused("oci_config_invalid", source, "key_file is missing", "the path of the API key", "")
        if not os.path.isfile(key_file):
            raise _refused(
                "oci_key_missing",
                key_file,
                "there is no such file",
                "the private key named by key_file",
                f"correct key_file in {source}",
            )
    try:
        if sign_in.auth_type == "security_token":
            return config, _session_signer(config, source, key_file)
        _check_api_key_configuration(config, source)
        signer = oci.signer.Signer(
            tenancy=config["tenancy"],
            user=config["user"],
            fingerprint=config["fingerprint"],
            private_key_file_location=key_file,
            pass_phrase=config.get("pass_phrase"),
            private_key_content=config.get("key_content"),
        )
    except (oci.exceptions.InvalidPrivateKey, ValueError, TypeError) as error:
        raise _refused(
            "oci_key_broken",
            key_file or source,
            f"not usable as a private key: {_key_problem(error)}",
            "a PEM private key",
            "name the right key file; give its pass phrase if it has one",
        ) from None
    except OSError as error:
        raise _refused(
            "oci_key_missing", key_file, f"cannot be read: {error.strerror}", "a readable private key", ""
        ) from error
    return config, signer


def _configuration(sign_in: SignIn) -> dict[str, Any]:
    """The profile of the configuration file with what is given over it; no file is needed when all is given."""
    given = {
        "user": sign_in.api_user,
        "fingerprint": sign_in.api_user_fingerprint,
        "key_file": sign_in.api_user_key_file,
        "pass_phrase": sign_in.api_user_key_pass_phrase,
        "tenancy": sign_in.tenancy,
    }
    given = {key: value for key, value in given.items() if value}
    if {"user", "fingerprint", "key_file", "tenancy"} <= given.keys():
        return {**oci.config.DEFAULT_CONFIG, **given}
    location = os.path.expanduser(_config_file(sign_in))
    try:
        return {**oci.config.from_file(location, _profile(sign_in)), **given}
    except oci.exceptions.InvalidKeyFilePath as error:
        if "key_file" in given:  # the profile's own key is not the one that is used
            profile = {key: value for key, value in _raw_profile(location, _profile(sign_in)).items() if value}
            return {**oci.config.DEFAULT_CONFIG, **profile, **given}
        key_file = os.path.expanduser(_raw_profile(location, _profile(sign_in)).get("key_file", ""))
        raise _refused(
            "oci_key_missing",
            key_file,
            "there is no such file",
            "the private key named by key_file",
            f"correct key_file in {location}",
        ) from error
    except oci.exceptions.ClientError:
        raise
    except Exception as error:  # configparser and the SDK's ValueErrors on odd lines, which they quote
        raise _refused(
            "oci_config_invalid",
            location,
            f"cannot be read ({_without_text(error)})",
            "an OCI configuration file",
            "each line is a [profile] or name=value; a key stands in a file of its own (key_file)",
        ) from None


def _key_problem(error: Exception) -> str:
    """Return what is wrong with a key; the libraries' own words may hold a part of the file."""
    words = str(error).lower()
    if "public key" in words:
        return "it is a public key"
    return "its passphrase is missing or wrong" if "pass" in words else type(error).__name__


def _without_text(error: Exception) -> str:
    """Return the kind of an error about a file and the lines it is about, nothing of what stands there."""
    lines = [getattr(error, "lineno", None), *(entry[0] for entry in getattr(error, "errors", ()))]
    numbers = ", ".join(str(line) for line in lines if isinstance(line, int))
    return type(error).__name__ + (f", line {numbers}" if numbers else "")


def _raw_profile(location: str, profile: str) -> dict[str, str]:
    import configparser

    parser = configparser.ConfigParser(interpolation=None)
    parser.read(location)
    return dict(parser[profile])


def _check_api_key_configuration(config: dict[str, Any], source: str) -> None:
    try:
        # The region is not part of the sign-in here: a cluster's OCID may name it.
        oci.config.validate_config({"region": "us-ashburn-1", **{k: v for k, v in config.items() if v is not None}})
    except oci.exceptions.InvalidConfig as error:
        wrong = error.args[0] if error.args and isinstance(error.args[0], dict) else {"": str(error)}
        found = ", ".join(f"{key} is {what}" for key, what in sorted(wrong.items()) if what in ("missing", "malformed"))
        remedy = "correct it"
        if wrong.get("user") == "missing" and config.get("security_token_file"):
            remedy = "this profile is one of `oci session authenticate`: set auth_type to security_token"
        raise _refused(
            "oci_config_invalid", source, found, "OCIDs of user and tenancy, fingerprint as aa:bb:..", remedy
        ) from error


def _session_signer(config: dict[str, Any], source: str, key_file: str) -> Any:
    token_file = os.path.expanduser(config.get("security_token_file") or "")
    if not os.path.isfile(token_file):
        raise _refused(
            "oci_token_missing",
            token_file or source,
            "there is no such file" if token_file else "security_token_file is missing",
            "the token of `oci session authenticate`",
            "run it, or choose another auth_type",
        )
    with open(token_file, encoding="utf-8") as stream:
        token = header_value(stream.read(), token_file)
    key = oci.signer.load_private_key_from_file(key_file, config.get("pass_phrase"))
    return oci.auth.signers.SecurityTokenSigner(token, key)


def _principal_signer(sign_in: SignIn) -> Any:
    signers, auth_type = oci.auth.signers, sign_in.auth_type
    try:
        if auth_type == "instance_principal":
            bundle = os.path.expanduser(sign_in.cert_bundle) or None
            # With the SDK's own strategy a machine that is no instance finds that out after three minutes.
            return signers.InstancePrincipalsSecurityTokenSigner(
                federation_client_cert_bundle_verify=bundle,
                federation_client_circuit_breaker_strategy=oci.circuit_breaker.NoCircuitBreakerStrategy(),
                federation_client_retry_strategy=Retry(),
                retry_strategy=Retry(),
            )
        if auth_type == "resource_principal":
            return signers.get_resource_principals_signer()
        return signers.get_oke_workload_identity_resource_principal_signer()
    except Exception as error:  # the SDK raises many kinds here, from EnvironmentError to its own
        where = {
            "instance_principal": "an OCI compute instance in a dynamic group",
            "resource_principal": "an OCI resource with OCI_RESOURCE_PRINCIPAL_VERSION set",
            "workload_identity": "a pod of an enhanced OKE cluster",
        }[auth_type]
        # Of a variable that is missing, or an address that does not answer; other words may hold a token or key.
        said = is_service_error(error) or isinstance(error, EnvironmentError)
        words = getattr(error, "message", None) or str(error) if said else type(error).__name__
        first_line = (str(words).splitlines() or [type(error).__name__])[0][:300]
        raise _refused(
            "oci_principal_unavailable",
            "auth_type",
            f"{auth_type} gave no sign-in: {first_line}",
            f"to run on {where}",
            "choose another auth_type",
        ) from error


def _config_file(sign_in: SignIn) -> str:
    return sign_in.config_file_location or os.environ.get("OCI_CONFIG_FILE") or DEFAULT_CONFIG_FILE


def _profile(sign_in: SignIn) -> str:
    return sign_in.config_profile_name or os.environ.get("OCI_CONFIG_PROFILE") or "DEFAULT"


def _refused(code: str, where: str, found: str, expected: str, remedy: str) -> Refused:
    return Refused([Fault(code, where, found, expected, remedy)])
