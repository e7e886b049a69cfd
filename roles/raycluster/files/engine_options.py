# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which options the image's vLLM has, looked up once: one that it does not know would end it."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
from collections.abc import Sequence

from group_file import STATE_FOLDER, write_whole
from pod_progress import Failure, log

# vLLM imports all that it has before it prints its help.
ASK_SECONDS = 300.0
_OPTION = re.compile(r"(?<![\w-])--[a-z0-9][a-z0-9-]*")
# An option that every vLLM has: a help without it is another program's.
_SURE = "--tensor-parallel-size"


def demanded(arguments: Sequence[str]) -> None:
    """See that the image's vLLM has the options of `arguments`; Failure where it has not. Values are never shown."""
    known = _known()
    # As vLLM reads them: underscores for hyphens, --option=value, --option.key for a part of a document, a beginning of a name.
    given = [re.split(r"[=.]", word)[0].replace("_", "-") for word in arguments if word.startswith("--")]
    missing = [name for name in dict.fromkeys(given) if known and not any(each.startswith(name) for each in known)]
    if missing:
        raise Failure(
            "engine",
            f"the image's vLLM {_version()} has no option {', '.join(missing)}: take an image with a vLLM that has it, "
            "or remove it from recipe_container_command_args",
            lasting=True,
        )


def taken(optional: tuple[tuple[str, ...], ...]) -> list[str]:
    """Return those of the options, each with its values, that the image's vLLM has; a line in the log says what is left out."""
    if not optional:
        return []
    known = _known()
    words: list[str] = []
    for option in optional:
        if option[0] in known:
            words += option
        else:
            why = "the image's vLLM does not have it" if known else "the options of the image's vLLM are not known"
            log(f"left out {' '.join(option)}: {why}")
    return words


def _version() -> str:
    try:
        return importlib.metadata.version("vllm")
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"


def _known() -> frozenset[str]:
    """Return all options of `vllm serve`; none where they cannot be found out. What was found outlives the container."""
    path = STATE_FOLDER / "options.json"
    try:
        return frozenset(json.loads(path.read_text()))
    except (FileNotFoundError, ValueError):
        pass
    try:
        done = subprocess.run(
            ["vllm", "serve", "--help=all"], capture_output=True, text=True, timeout=ASK_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        log(f"vLLM's options cannot be looked up: {error}")
        return frozenset()
    found = frozenset(_OPTION.findall(done.stdout))
    if _SURE not in found:
        return frozenset()
    write_whole(path, json.dumps(sorted(found)))
    return found
