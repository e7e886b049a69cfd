# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes the files that settings name: whole or not at all, for their owner alone, and nowhere else than where they were named."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from ..module_utils.core.fault import Fault, Refused

PRIVATE = 0o600


def write_file(setting: str, path: str, text: str, mode: int = PRIVATE) -> bool:
    """Write `text` to the file `path` that `setting` names; return whether its text is another one now.

    Raises Refused where it cannot be written, and where a link or something that is no file is there: who made the link has
    chosen what is written over.
    """
    target = Path(path).expanduser()
    try:
        there = os.lstat(target) if os.path.lexists(target) else None
        if there and not stat.S_ISREG(there.st_mode):
            raise _refused(setting, f"{target} is {'a link' if stat.S_ISLNK(there.st_mode) else 'no file'}")
        same = bool(there) and target.read_text(encoding="utf-8", errors="replace") == text
        if same and there and stat.S_IMODE(there.st_mode) == mode:
            return False
        handle, beside = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(beside, mode)
            os.replace(beside, target)
        except BaseException:
            os.unlink(beside)
            raise
    except OSError as error:
        raise _refused(setting, f"{target}: {error.strerror}") from error
    return not same


def _refused(setting: str, found: str) -> Refused:
    return Refused([Fault(setting, setting, found, "a file that can be written", "name another")])
