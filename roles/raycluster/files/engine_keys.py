# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The API keys of the deployment: a mounted Secret, one file for each key, named like it.

The kubelet replaces all files of a mounted Secret at once, by a link (`..data`) to a new folder, so a key is added, rotated or removed
without a restart. A file `<name>.until-<seconds>` holds the former value of a rotated key, which expires at that time (Unix epoch). The
file `.revision` says which change this is.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

FOLDER = Path(os.environ.get("MULTINODE_API_KEYS", "/run/secrets/multinode/api-keys"))
_FORMER = re.compile(r"(?P<name>.+)\.until-(?P<seconds>\d{1,15})")
# What a header can carry: visible ASCII.
_VALUE = re.compile(rb"[\x21-\x7e]{1,4096}")
Stamp = tuple[tuple[str, int, int, int], ...]


class Keys:
    """The keys in FOLDER, read again when the files change."""

    def __init__(self) -> None:
        self._folder = FOLDER
        self._stamp: Stamp | None = None
        self._former: dict[bytes, tuple[str, float]] = {}
        self._current: dict[bytes, str] = {}
        self.revision = ""

    def valid(self) -> dict[bytes, str]:
        """Return the name of each key that is valid now, by its value."""
        try:
            stamp = _stamp(self._folder)
            if stamp != self._stamp:
                self._read()
                self._stamp = stamp
        except OSError:
            # The kubelet replaces the files at this moment: those of before stay valid until the next look.
            self._stamp = None
        if not self._former:
            return self._current
        now = time.time()
        return {**{value: name for value, (name, until) in self._former.items() if now < until}, **self._current}

    def own(self) -> str:
        """Return the key that the pod's own programs send; "" where there is none."""
        self.valid()
        values = {name: value.decode() for value, name in self._current.items()}
        return values.get("default") or next((values[name] for name in sorted(values)), "")

    def _read(self) -> None:
        current: dict[bytes, str] = {}
        former: dict[bytes, tuple[str, float]] = {}
        for entry in _files(self._folder):
            value = Path(entry.path).read_bytes().strip()
            if not _VALUE.fullmatch(value):
                continue
            if match := _FORMER.fullmatch(entry.name):
                former[value] = (match["name"], float(match["seconds"]))
            else:
                current[value] = entry.name
        revision = _data(self._folder) / ".revision"
        self.revision = revision.read_text().strip()[:64] if revision.exists() else ""
        self._current, self._former = current, former


def _files(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(_data(folder)) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)


def _data(folder: Path) -> Path:
    data = folder / "..data"
    return data.resolve() if data.exists() else folder


def _stamp(folder: Path) -> Stamp:
    """What changes when a file does. The inode tells one whose replacement has the same size and time."""
    found = []
    for entry in _files(folder):
        seen = entry.stat()
        found.append((entry.name, seen.st_ino, seen.st_mtime_ns, seen.st_size))
    # The folder itself: a change of the revision alone is one, too.
    whole = _data(folder).stat()
    return (*found, ("", whole.st_ino, whole.st_mtime_ns, 0))
