# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What every source of model files offers, whatever it is made of."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any, Protocol

# A listing longer than this is not a model's: the prefix is missing or wrong.
MOST_FILES = 100_000
# Pages of a list at most: of 1000 names each, and some more for services that give shorter ones.
MOST_PAGES = 1000


@dataclass(frozen=True)
class ModelFile:
    """One file of the model.

    name    relative to the source's prefix
    size    bytes
    md5     base64, where the service has one (Object Storage: not for multipart uploads)
    sha256  hexadecimal, where the service has one (Hugging Face: files in large file storage)
    """

    name: str
    size: int
    md5: str | None = None
    sha256: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The file as plain data."""
        return asdict(self)


def listed_file(name: Any, size: Any, md5: Any = None, sha256: Any = None) -> ModelFile:
    """Return a file as a service's list has it. Raises ValueError where it has no form that a list has."""
    if isinstance(size, str) and re.fullmatch("[0-9]{1,18}", size):
        size = int(size)
    size = 0 if size is None else size
    texts = all(text is None or isinstance(text, str) for text in (md5, sha256))
    if (
        not isinstance(name, str)
        or isinstance(size, bool)
        or not isinstance(size, int)
        or not 0 <= size < 2**63
        or not texts
    ):
        raise ValueError("an entry that is no file")
    name.encode()  # half a surrogate pair names nothing
    return ModelFile(name, size, md5, sha256)


class Source(Protocol):
    """A place that model files are read from. All methods raise `Refused` with what is wrong, without a secret."""

    prefix: str

    def files(self) -> list[ModelFile]:
        """List the files below the prefix."""

    def read(self, name: str, limit: int) -> bytes:
        """Return the content of a small file of at most `limit` bytes."""

    def nearby(self) -> list[str]:
        """Return some names outside the prefix, to help where nothing is below it; empty when that is not allowed."""

    def describe(self) -> dict[str, Any]:
        """Return what the source is, without a secret: `kind`, and a `place` for messages."""


def as_prefix(path: str) -> str:
    """Return a folder as a prefix of object names: no slash in front, one at the end, "" for the top."""
    inner = path.strip("/")
    return f"{inner}/" if inner else ""
