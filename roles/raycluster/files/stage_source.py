# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The kinds of origin that model files come from, and how a file of each is asked for.

No address is ever part of a message: a pre-authenticated request's URL is a secret, and so is a redirect's.
"""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass
from typing import Protocol

from group_file import Staging
from pod_progress import Failure


@dataclass(frozen=True)
class Address:
    """How one file is asked for. `passing`: by a redirect, which may be taken back."""

    secure: bool
    host: str
    port: int | None
    path: str
    headers: dict[str, str]
    passing: bool = False

    @property
    def target(self) -> tuple[bool, str, int | None]:
        """What a connection to it is a connection to."""
        return self.secure, self.host, self.port


class Origin(Protocol):
    """What a kind of origin has to know."""

    # Whether a file's ETag tells its version; not so where the version is part of the address.
    tagged: bool

    def address(self, name: str) -> Address:
        """Return how the file `name` is asked for."""

    def redirected(self, name: str, location: str) -> None:
        """Note where the origin sent a request for the file. Failure where it may not."""

    def forget(self, name: str) -> None:
        """Forget where a request for the file was sent."""

    def refusal(self, status: int, name: str) -> str:
        """Return the cause to tell when the origin answers `status` (3xx or 4xx) for the file."""


class PreauthenticatedRequest:
    """Objects below a prefix, read through the URL of an OCI Object Storage pre-authenticated request (PAR)."""

    tagged = True

    def __init__(self, url: str, prefix: str, made: bool = False) -> None:
        """`made`: whether deploy made the request, and makes another."""
        parts = urllib.parse.urlsplit(url)
        # An AnyObjectRead URL ends with /o/; the names of objects follow it, also where the PAR is for a prefix.
        base, marker, _prefix = parts.path.partition("/o/")
        if parts.scheme not in ("http", "https") or not parts.hostname or not marker:
            raise ValueError("it is not the URL of a pre-authenticated request (https://…/p/…/n/…/b/…/o/)")
        self._parts = parts
        self._base = base + marker
        self._prefix = prefix if not prefix or prefix.endswith("/") else prefix + "/"
        self._remedy = (
            "deploy again: it makes another one, if who runs it may make it and read the bucket"
            if made
            else "make a new pre-authenticated request that allows reading the objects below the prefix, and deploy again with it"
        )

    def address(self, name: str) -> Address:
        return _address(self._parts, self._base + urllib.parse.quote(self._prefix + name, safe="/"))

    def redirected(self, name: str, location: str) -> None:
        raise Failure(
            "staging", f"{self._parts.hostname} redirects {name}, which Object Storage does not", lasting=True
        )

    def forget(self, name: str) -> None:
        """Nothing is known of redirects here."""

    def refusal(self, status: int, name: str) -> str:
        file = self._prefix + name
        if status in (401, 403, 404):
            # Object Storage answers the same for a request that has expired, was deleted, or does not cover the object.
            return f"PAR invalid, expired or out of scope: {self._parts.hostname} answered {status} for {file}; {self._remedy}"
        return f"{self._parts.hostname} answered {status} for {file}"


class HuggingFace:
    """Files of a repository at a commit, read from the Hugging Face Hub or a mirror that speaks as it does."""

    # The commit is part of the address.
    tagged = False

    def __init__(self, endpoint: str, repository: str, commit: str, token: str) -> None:
        self._parts = urllib.parse.urlsplit(endpoint)
        if self._parts.scheme not in ("http", "https") or not self._parts.hostname:
            raise ValueError("the endpoint is no URL that begins with https://")
        if token and self._parts.scheme != "https":
            raise ValueError("the token would be sent in clear text: give an https endpoint")
        self._repository = repository
        self._commit = commit
        self._token = token
        # Large files lie elsewhere, behind links that hold for an hour or so.
        self._elsewhere: dict[str, Address] = {}

    def address(self, name: str) -> Address:
        if known := self._elsewhere.get(name):
            return known
        file = urllib.parse.quote(f"{self._repository}/resolve/{self._commit}/{name}", safe="/")
        return _address(self._parts, f"{self._parts.path.rstrip('/')}/{file}", self._token)

    def redirected(self, name: str, location: str) -> None:
        before = self.address(name)
        port = f":{before.port}" if before.port else ""
        base = f"{'https' if before.secure else 'http'}://{before.host}{port}{before.path}"
        try:
            parts = urllib.parse.urlsplit(urllib.parse.urljoin(base, location))
            understood = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            understood = False
        if not understood:
            raise Failure(
                "staging", f"{before.host} sends the request for {name} to an address that is no URL", lasting=True
            )
        if before.secure and parts.scheme != "https":
            raise Failure(
                "staging", f"{before.host} sends the request for {name} to an address without TLS", lasting=True
            )
        own = (parts.scheme, parts.netloc) == (self._parts.scheme, self._parts.netloc)
        query = f"?{parts.query}" if parts.query else ""
        self._elsewhere[name] = _address(parts, parts.path + query, self._token if own else "", passing=True)

    def forget(self, name: str) -> None:
        self._elsewhere.pop(name, None)

    def refusal(self, status: int, name: str) -> str:
        words = f"{self._parts.hostname} answered {status} for {name} of {self._repository} at {self._commit}"
        if status in (401, 403, 404):
            return words + "; check that the repository is there, and that the token may read it"
        return words


def open_origin(staging: Staging) -> Origin:
    """Return the origin of the group's files; URL and token are read each time, since a Secret may have changed."""
    try:
        # A bucket is read through a pre-authenticated request that the cloud side made.
        if staging.source in ("par", "bucket"):
            made = staging.source == "bucket"
            return PreauthenticatedRequest(staging.url_file.read_text().strip(), staging.prefix, made)
        if staging.source == "hugging_face":
            token = staging.token_file.read_text().strip() if staging.token_file.exists() else ""
            return HuggingFace(staging.endpoint, staging.repository, staging.commit, token)
    except OSError as error:
        raise Failure("staging", f"the source's URL cannot be read: {error}", lasting=True) from None
    except ValueError as error:
        raise Failure("staging", f"the source's URL is of no use: {error}", lasting=True) from None
    raise Failure("staging", f"these programs cannot read from a source of kind {staging.source!r}", lasting=True)


def _address(parts: urllib.parse.SplitResult, path: str, token: str = "", passing: bool = False) -> Address:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return Address(parts.scheme == "https", str(parts.hostname), parts.port, path, headers, passing)
