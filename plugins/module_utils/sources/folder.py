# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Model files in a folder of the machine that runs Ansible."""

from __future__ import annotations

import os
from typing import Any

from ..core.fault import Fault, Refused
from .source import ModelFile


class FolderSource:
    """The files of a folder."""

    prefix = ""

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(os.path.expanduser(path))
        if not os.path.isdir(self.path):
            found = "is a file" if os.path.exists(self.path) else "there is no such folder"
            raise Refused([Fault("folder_missing", self.path, found, "a folder with a model's files")])

    def describe(self) -> dict[str, Any]:
        """Return what the source is."""
        return {"kind": "folder", "place": self.path, "path": self.path}

    def files(self) -> list[ModelFile]:
        """List the files below the folder; links count as what they lead to."""
        found = []
        for folder, folders, names in os.walk(self.path, followlinks=False):
            folders.sort()
            for name in sorted(names):
                path = os.path.join(folder, name)
                found.append(ModelFile(os.path.relpath(path, self.path).replace(os.sep, "/"), self._size(path)))
        return found

    def _size(self, path: str) -> int:
        try:
            return os.stat(path).st_size
        except OSError as error:
            raise Refused([Fault("file_unreadable", path, error.strerror or str(error), "a readable file")]) from error

    def nearby(self) -> list[str]:
        """A folder has no surroundings of interest."""
        return []

    def read(self, name: str, limit: int) -> bytes:
        """Return the content of one small file."""
        path = os.path.join(self.path, name)
        try:
            with open(path, "rb") as stream:
                body = stream.read(limit + 1)
        except OSError as error:
            raise Refused([Fault("file_unreadable", path, error.strerror or str(error), "a readable file")]) from error
        if len(body) > limit:
            raise Refused([Fault("file_too_large", path, f"more than {limit} bytes", "a small file")])
        return body
