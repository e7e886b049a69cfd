# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Model files in a repository of the Hugging Face Hub, or of a service that speaks its protocol.

Two requests of its public API: /api/models/<repository>/revision/<revision>?blobs=true lists the files with sizes, and
/<repository>/resolve/<revision>/<file> reads one.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from ..core.credentials import bearer
from ..core.fault import Fault, Refused
from ..core.text import read_json
from .http import Answer, TooLarge, Unreachable, get
from .source import MOST_FILES, ModelFile, listed_file

DEFAULT_ENDPOINT = "https://huggingface.co"
REPOSITORY = re.compile(r"^[\w.-]+(/[\w.-]+)?$")
COMMIT = re.compile(r"^[0-9a-f]{40}$")
WITH_TOKEN = "name a Secret with it by token_secret_name for the pods, and set HF_TOKEN for deploy"
REDIRECTS = (301, 302, 303, 307, 308)
MOST_REDIRECTS = 5
LIST_BYTES = 32 * 1024 * 1024


class HuggingFaceSource:
    """The files of `repository` at `revision`. The commit found when listing is the one that is read from.

    kept: the commit to read in place of the one that the revision names today, which is looked up all the same.
    """

    prefix = ""

    def __init__(
        self,
        repository: str,
        revision: str = "main",
        token: str = "",
        endpoint: str = DEFAULT_ENDPOINT,
        kept: str = "",
    ) -> None:
        self.repository = repository.strip("/")
        self.revision = revision or "main"
        self.endpoint = (endpoint or DEFAULT_ENDPOINT).rstrip("/")
        self.place = f"{self.endpoint}/{self.repository}"
        self.commit = ""
        # What a branch or tag names today; a commit names itself for ever.
        self.newest = ""
        own = isinstance(kept, str) and COMMIT.fullmatch(kept)
        self._kept = kept if own and not COMMIT.match(self.revision) else ""
        self._authorization = bearer(token, "HF_TOKEN") if token else ""
        if not REPOSITORY.match(self.repository):
            raise self._refused("repository_malformed", f"{repository!r}", "organization/name", "")
        if not self.endpoint.startswith(("https://", "http://")):
            raise self._refused("endpoint_malformed", f"{endpoint!r}", "a URL that begins with https://", "")
        if token and not self.endpoint.startswith("https://"):
            raise self._refused(
                "token_without_tls", "the token would be sent in clear text", "https://", "use an https endpoint"
            )

    def describe(self) -> dict[str, Any]:
        """Return what the source is, without the token."""
        return {
            "kind": "hugging_face",
            "place": self.place,
            "endpoint": self.endpoint,
            "repository": self.repository,
            "revision": self.revision,
            "commit": self.commit,
            **({"newest": self.newest} if self.newest else {}),
        }

    def files(self) -> list[ModelFile]:
        """List the repository's files with sizes, and the SHA-256 of those in large file storage."""
        listing = self._listing(self._kept or self.revision)
        self.commit = str(listing.get("sha") or "")
        if not COMMIT.match(self.revision):
            self.newest = str(self._listing(self.revision).get("sha") or "") if self._kept else self.commit
        try:
            if len(listing["siblings"]) > MOST_FILES:
                raise self._refused("too_many_files", f"more than {MOST_FILES} files", "a model's repository", "")
            return [self._file(item) for item in listing["siblings"]]
        except (LookupError, TypeError, ValueError, AttributeError):
            raise self._malformed() from None

    def _listing(self, revision: str) -> dict[str, Any]:
        path = f"/api/models/{self.repository}/revision/{quote(revision, safe='')}?blobs=true"
        answer = self._get(self.endpoint + path, LIST_BYTES, "the list of files")
        if answer.status != 200:
            raise Refused([self._fault(answer, "listing the files", revision)])
        try:
            listing = read_json(answer.body)
        except ValueError:
            listing = None
        if not isinstance(listing, dict):
            raise self._malformed()
        return listing

    def _malformed(self) -> Refused:
        return self._refused(
            "answer_malformed",
            "the answer is no list of a repository",
            "the Hugging Face protocol",
            "check the endpoint",
        )

    @staticmethod
    def _file(item: dict[str, Any]) -> ModelFile:
        large = item.get("lfs") or {}
        return listed_file(item["rfilename"], item.get("size") or large.get("size"), None, large.get("sha256"))

    def nearby(self) -> list[str]:
        """A repository has no surroundings of interest."""
        return []

    def read(self, name: str, limit: int) -> bytes:
        """Return the content of one small file at the commit that was listed."""
        path = f"/{self.repository}/resolve/{quote(self.commit or self.revision, safe='')}/{quote(name)}"
        answer = self._get(self.endpoint + path, limit, name)
        if answer.status != 200:
            raise Refused([self._fault(answer, f"reading {name}", self.commit)])
        return answer.body

    def _get(self, url: str, limit: int, what: str) -> Answer:
        """Follow redirects, with the token only to the host that it was given for."""
        try:
            for _redirect in range(MOST_REDIRECTS):
                own = urlsplit(url)[:2] == urlsplit(self.endpoint)[:2]
                answer = get(url, limit, {"Authorization": self._authorization} if self._authorization and own else {})
                if answer.status not in REDIRECTS or "location" not in answer.headers:
                    return answer
                url = self._redirected(url, answer.headers["location"], what)
            raise self._refused(
                "redirected_too_often", f"more than {MOST_REDIRECTS} redirects for {what}", "a file", ""
            )
        except Unreachable as error:
            raise self._refused(
                "repository_unreachable",
                f"no answer ({error})",
                "the Hugging Face Hub",
                "check endpoint, network and proxy",
            ) from None
        except TooLarge as error:
            raise self._refused("file_too_large", f"{what} has {error}", "a small file", "") from None

    def _redirected(self, url: str, location: str, what: str) -> str:
        """Return where a redirect leads: from an encrypted answer to encrypted ones only, as the pods do."""
        try:
            target = urljoin(url, location)
            schemes = urlsplit(url).scheme, urlsplit(target).scheme
        except ValueError:
            raise self._refused("redirect_malformed", f"a redirect for {what} to no URL", "a URL", "") from None
        if schemes not in (("https", "https"), ("http", "http"), ("http", "https")):
            raise self._refused(
                "redirect_without_tls",
                f"a redirect for {what} from {schemes[0]} to {schemes[1] or 'nothing'}",
                "https",
                "",
            )
        return target

    def _fault(self, answer: Answer, doing: str, revision: str) -> Fault:
        kind = answer.headers.get("x-error-code", "")
        found = f"{doing}: HTTP {answer.status} {kind}".rstrip()
        if kind == "GatedRepo" or (answer.status == 403 and self._authorization):
            terms = "accept the model's terms with the token's account"
            return Fault(
                "repository_gated",
                self.place,
                found if self._authorization else f"{found}, asked without a token",
                "a repository that this token may read"
                if self._authorization
                else "a token of an account that may read it",
                terms if self._authorization else f"{terms}; {WITH_TOKEN}",
            )
        if kind == "RevisionNotFound":
            if revision == self._kept:
                return Fault(
                    "commit_gone",
                    self.place,
                    f"{found}: {revision}, which the deployment was made with",
                    "a commit that is there",
                    "give another revision",
                )
            return Fault("revision_missing", self.place, f"{found}: {revision}", "a branch, tag or commit")
        if answer.status in (401, 403, 404):
            token = (
                "check the token: that it is still valid, and its rights"
                if self._authorization
                else f"a private repository needs a token: {WITH_TOKEN}"
            )
            return Fault(
                "repository_missing", self.place, found, "a repository that exists", f"check the name; {token}"
            )
        return Fault("repository_unavailable", self.place, found, "HTTP 200", "run again later")

    def _refused(self, code: str, found: str, expected: str, remedy: str) -> Refused:
        return Refused([Fault(code, self.place, found, expected, remedy)])
