# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes the recipe in today's spelling."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..module_utils.core.fault import Fault, Refused


def write_recipe(recipe: Mapping[str, Any], path: str) -> bool:
    """Write `recipe` to the file `path` as JSON, readable by its owner only: it holds secrets.

    Returns whether the file is another one now. Raises Refused where it cannot be written.
    """
    target = Path(path).expanduser()
    text = json.dumps(recipe, indent=2, ensure_ascii=False) + "\n"
    try:
        if target.is_file() and target.read_text(encoding="utf-8", errors="replace") == text:
            return False
        beside = target.with_name(target.name + ".new")
        beside.unlink(missing_ok=True)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        beside.replace(target)
    except OSError as error:
        raise Refused(
            [
                Fault(
                    "convert_to",
                    "convert_to",
                    f"{target}: {error.strerror}",
                    "a file that can be written",
                    "correct it",
                )
            ]
        ) from error
    return True
