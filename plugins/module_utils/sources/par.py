# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Model files behind a pre-authenticated request (PAR) of OCI Object Storage.

A PAR's URL is https://<host>/p/<secret>/n/<namespace>/b/<bucket>/o/ and needs no sign-in: who has it may read. The
secret stays in this object; messages and results name host, bucket and prefix only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from ..core.fault import Fault, Refused
from ..core.text import plain, read_json
from .http import Answer, TooLarge, Unreachable, get
from .source import MOST_FILES, MOST_PAGES, ModelFile, as_prefix, listed_file

PAR_URL = re.compile(r"^(https?)://([^/\s]+)/p/([^/\s]+)/n/([^/\s]+)/b/([^/\s]+)/o(/\S*)?$")
# Object Storage lists at most 1000 names per page and leaves out sizes unless asked.
LISTED_FIELDS = "name,size,md5,archivalState"
PAGE_BYTES = 4 * 1024 * 1024


class ParSource:
    """The objects below `prefix` that the PAR `url` gives access to."""

    def __init__(self, url: str, prefix: str, plain_http_endpoint: str = "") -> None:
        """`plain_http_endpoint`: the one address that may be asked without TLS, when the platform settings name it."""
        match = PAR_URL.match(url.strip())
        if not match or not url.strip().isascii():
            raise _refused(
                "par_malformed",
                "par",
                "not the URL of a pre-authenticated request",
                "https://<host>/p/<secret>/n/<namespace>/b/<bucket>/o/",
                "copy the URL again; OCI shows it only once",
            )
        scheme, host, self._secret, self.namespace, self.bucket, rest = match.groups()
        self.host = host
        self.prefix = as_prefix(prefix)
        self.place = f"{host}/p/***/n/{self.namespace}/b/{self.bucket}/o/{self.prefix}"
        if (rest or "/") != "/":
            raise _refused(
                "par_of_one_object",
                self.place,
                "the URL continues after /o/",
                "a PAR of the bucket or of a prefix",
                "make one of type AnyObjectRead that allows listing; the model's folder is named by include or model path",
            )
        if scheme == "http" and not _same_address(host, plain_http_endpoint):
            raise _refused(
                "par_without_tls",
                self.place,
                "http:// would send the secret in clear text",
                "https://",
                "use the https URL",
            )
        self._base = f"{scheme}://{host}/p/{self._secret}/n/{self.namespace}/b/{self.bucket}/o/"

    def describe(self) -> dict[str, Any]:
        """Return what the source is, without the secret."""
        return {
            "kind": "par",
            "place": self.place,
            "host": self.host,
            "namespace": self.namespace,
            "bucket": self.bucket,
        }

    def files(self) -> list[ModelFile]:
        """List the objects below the prefix, all pages."""
        found: list[ModelFile] = []
        archived: list[str] = []
        start = ""
        for _number in range(MOST_PAGES):
            page = self._page(self.prefix, start)
            for item in page["objects"]:
                found.append(item.file)
                if item.archived:
                    archived.append(self.prefix + item.file.name)
            start = page["next"]
            if not start:
                break
            if len(found) > MOST_FILES:
                raise _refused("too_many_files", self.place, f"more than {MOST_FILES} objects", "a model's folder", "")
        else:
            raise _refused(
                "list_endless", self.place, f"more than {MOST_PAGES} pages of a list", "a model's folder", ""
            )
        refuse_archived(archived, self.place)
        return found

    def nearby(self) -> list[str]:
        """Return the first names of what the PAR shows outside the prefix."""
        try:
            return [item.file.name for item in self._page("", "")["objects"]]
        except Refused:
            return []

    def read(self, name: str, limit: int) -> bytes:
        """Return the content of one small object."""
        answer = self._get(self._base + quote(self.prefix + name), limit, name)
        if answer.status != 200:
            raise Refused([self._fault(answer, f"reading {name}")])
        return answer.body

    def _page(self, prefix: str, start: str) -> dict[str, Any]:
        query = {"fields": LISTED_FIELDS, "limit": "1000", **({"prefix": prefix} if prefix else {})}
        if start:
            query["start"] = start
        answer = self._get(f"{self._base}?{urlencode(query)}", PAGE_BYTES, "the list of objects")
        if answer.status in (401, 403, 404) and self._reads_objects():
            raise _refused(
                "par_without_listing",
                self.place,
                f"the PAR reads objects but does not list them (HTTP {answer.status})",
                "a PAR that allows listing",
                "make one with bucketListingAction ListObjects (Enable object listing)",
            )
        if answer.status != 200:
            raise Refused([self._fault(answer, "listing the objects")])
        try:
            page = read_json(answer.body)
            start = page.get("nextStartWith") or ""
            if not isinstance(start, str):
                raise ValueError("no name")
            return {"objects": [_listed(item, prefix) for item in page["objects"]], "next": start}
        except (ValueError, LookupError, TypeError, AttributeError):
            raise _refused(
                "par_malformed",
                self.place,
                "the answer is no list of Object Storage",
                "the URL of a PAR",
                "check the host",
            ) from None

    def _reads_objects(self) -> bool:
        """Tell a PAR that may not list from one that is not valid: the first reads the model's configuration."""
        try:
            return self._get(self._base + quote(self.prefix + "config.json"), PAGE_BYTES, "config.json").status == 200
        except Refused:
            return False

    def _get(self, url: str, limit: int, what: str) -> Answer:
        try:
            return get(url, limit)
        except Unreachable as error:
            raise _refused(
                "par_unreachable",
                self.host,
                f"no answer ({error})",
                "Object Storage",
                "check host, network and proxy of this machine",
            ) from None
        except TooLarge as error:
            raise _refused("file_too_large", self.place, f"{what} has {error}", "a small file", "") from None

    def _fault(self, answer: Answer, doing: str) -> Fault:
        found = f"{doing}: HTTP {answer.status}{_words_of(answer, self._secret)}"
        if answer.status in (401, 403, 404):
            return Fault(
                "par_invalid",
                self.place,
                f"PAR invalid, expired or out of scope ({found})",
                "a PAR that is valid and covers the prefix",
                "make a new one of type AnyObjectRead that allows listing; whoever made it must still have the rights",
            )
        return Fault("par_unavailable", self.place, found, "HTTP 200", "run again later")


class _Listed(NamedTuple):
    file: ModelFile
    archived: bool


def _listed(item: Mapping[str, Any], prefix: str) -> _Listed:
    """Return an entry of a list; see `listed_file`."""
    name = item["name"]
    if not isinstance(name, str) or not name.startswith(prefix):
        raise ValueError("a name that was not asked for")
    file = listed_file(name[len(prefix) :], item.get("size"), item.get("md5"))
    return _Listed(file, item.get("archivalState") in ("Archived", "Restoring"))


def refuse_archived(names: list[str], place: str) -> None:
    """Refuse objects of the archive tier, which cannot be read until they are restored."""
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise _refused(
            "object_archived",
            place,
            f"in the archive tier: {', '.join(names[:3])}{more}",
            "objects that can be read",
            "restore them",
        )


def _words_of(answer: Answer, secret: str) -> str:
    """The service's own code and message, without the secret."""
    try:
        body = read_json(answer.body)
        words = f" {body.get('code', '')}: {body.get('message', '')}"
    except (ValueError, AttributeError):
        return ""
    return plain(words.replace(secret, "***")[:300])


def _same_address(host: str, endpoint: str) -> bool:
    parts = urlsplit(endpoint)
    return bool(endpoint) and parts.scheme == "http" and parts.netloc.lower() == host.lower()


def _refused(code: str, where: str, found: str, expected: str, remedy: str) -> Refused:
    return Refused([Fault(code, where, found, expected, remedy)])
