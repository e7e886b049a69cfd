# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ask vLLM whether it would start with these arguments: `python engine_question.py <arguments of vllm serve>`.

A process of its own, with the Python that vLLM is installed for. It needs config.json and the tokenizer's files, no weights; it starts no
Ray and takes no GPU memory. Standard output is one JSON object:

    {"ok": true, "vllm", "platform", "layers_per_stage", "max_model_len", "architecture", "cache_dtype"}
    {"ok": false, "kind", "error"}     vLLM refuses
    {"ok": null, "error"}              not answered: this vLLM lacks an entry point, or cannot say it here
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

# The same entry point, by the places it had (vLLM 0.29 and later, 0.26 and earlier).
_PARSERS = ("vllm.entrypoints.launchers.cli_args", "vllm.entrypoints.openai.cli_args")
_PARSER_CLASSES = ("vllm.utils.argparse_utils", "vllm.utils")
# Errors by which vLLM refuses arguments or a configuration (pydantic's are ValueErrors). Others may be of this program's making.
_REFUSALS = (ValueError, NotImplementedError)
# The class could not be imported in a process of its own: the lack of memory or time may be why.
_UNSURE = "failed to be inspected"


class NotAnswered(Exception):
    """vLLM could not be asked."""


class NeedsDevice(RuntimeError):
    """Something wants a CUDA context, which would hold GPU memory that the engine's ranks need."""


def ask(arguments: Sequence[str], more: Callable[[Any], dict[str, Any]] | None = None) -> dict[str, Any]:
    """Return vLLM's answer, with what `more` finds in its configuration; NotAnswered where it has none."""
    try:
        version = importlib.import_module("vllm").__version__
        _forbid_devices()
        parse = _entry(_PARSERS, "make_arg_parser")(
            _entry(_PARSER_CLASSES, "FlexibleArgumentParser")(prog="vllm serve")
        )
        engine = _entry(("vllm.engine.arg_utils",), "AsyncEngineArgs")
    except Exception as error:
        raise NotAnswered(f"{type(error).__name__}: {error}") from None
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            parsed = parse.parse_args(list(arguments))
    except SystemExit:
        lines = [line for line in said.getvalue().splitlines() if "error: " in line]
        if not lines:
            raise NotAnswered("the arguments are refused without a word") from None
        return {"ok": False, "kind": "argument", "error": lines[-1]}
    parsed.model = getattr(parsed, "model_tag", None) or parsed.model
    try:
        config = engine.from_cli_args(parsed).create_engine_config()
        layers = _layers_per_stage(config)
    except _REFUSALS as error:
        if _UNSURE in str(error):
            raise NotAnswered(str(error)) from None
        return {"ok": False, "kind": type(error).__name__, "error": str(error)}
    except Exception as error:
        raise NotAnswered(f"{type(error).__name__}: {error}") from None
    return {
        "ok": True,
        "vllm": version,
        "platform": _platform(),
        "layers_per_stage": layers,
        "max_model_len": config.model_config.max_model_len,
        "architecture": config.model_config.architecture,
        "cache_dtype": config.cache_config.cache_dtype,
        **(more(config) if more else {}),
    }


def _layers_per_stage(config: Any) -> list[int]:
    indices = _entry(("vllm.distributed.utils",), "get_pp_indices")
    model, stages = config.model_config, config.parallel_config.pipeline_parallel_size
    layers = model.get_total_num_hidden_layers()
    bounds = [indices(layers, stage, stages) for stage in range(stages)]
    return [end - first for first, end in bounds]


def _entry(places: Sequence[str], name: str) -> Any:
    for place in places:
        with contextlib.suppress(ImportError, AttributeError):
            return getattr(importlib.import_module(place), name)
    raise NotAnswered(f"this vLLM has no {name} in {' or '.join(places)}")


def _platform() -> str:
    with contextlib.suppress(Exception):
        return str(importlib.import_module("vllm.platforms").current_platform.device_type)
    return ""


def _forbid_devices() -> None:
    """Let no CUDA context be made here. vLLM finds its platform without one, by NVML; PyTorch makes one by this function alone."""

    def refuse() -> None:
        raise NeedsDevice("it wants the GPU, whose memory is the engine's")

    with contextlib.suppress(ImportError):
        importlib.import_module("torch.cuda")._lazy_init = refuse  # type: ignore[attr-defined]


def main() -> int:
    """Answer on standard output; what vLLM and its libraries print goes to standard error."""
    # The programs beside this one would hide modules of others.
    sys.path[:] = [path for path in sys.path if path != os.path.dirname(os.path.abspath(__file__))]
    output = os.dup(1)
    os.dup2(2, 1)
    try:
        answer = ask(sys.argv[1:])
    except NotAnswered as reason:
        answer = {"ok": None, "error": str(reason)}
    os.write(output, json.dumps(answer).encode() + b"\n")
    return 0


if __name__ == "__main__":
    # Not sys.exit: threads of libraries must not hold up the end.
    code = main()
    sys.stderr.flush()
    os._exit(code)
