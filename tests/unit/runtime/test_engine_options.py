# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of vLLM that its image lacks: ours are left out, those of the recipe end the head with the cause."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = Path(__file__).parents[3] / "roles" / "raycluster" / "files"
HELP = "usage: vllm serve\n  --tensor-parallel-size N, -tp N\n  --enforce-eager, --no-enforce-eager\n  --compilation-config C\n"


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The program, with a vLLM whose help is HELP."""
    monkeypatch.syspath_prepend(str(PROGRAMS))
    program = tmp_path / "vllm"
    program.write_text(f"#!/bin/sh\necho asked >> {tmp_path}/asked\ncat <<'END'\n{HELP}END\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    module = importlib.import_module("engine_options")
    monkeypatch.setattr(module, "STATE_FOLDER", tmp_path)
    yield module
    for name in ("engine_options", "group_file", "pod_progress"):
        sys.modules.pop(name, None)


def test_options_that_it_has_in_any_spelling(options: Any, tmp_path: Path) -> None:
    options.demanded(
        ["--tensor_parallel_size=4", "--no-enforce-eager", "--compilation-config.mode", "3", "-tp", "--enforce"]
    )
    assert options.taken((("--enforce-eager",), ("--shutdown-timeout", "30"))) == ["--enforce-eager"]
    assert (tmp_path / "asked").read_text() == "asked\n", "vLLM is asked once"


def test_one_that_it_lacks_is_named_and_no_value_shown(options: Any) -> None:
    with pytest.raises(Exception, match=r"has no option --swap-space, --new: take") as failure:
        options.demanded(["--swap-space", "s3cr3t", "--new=1", "--swap-space=2"])
    assert failure.value.lasting and "s3cr3t" not in str(failure.value)


def test_where_vllm_does_not_say_nothing_is_refused(options: Any, tmp_path: Path) -> None:
    (tmp_path / "vllm").write_text("#!/bin/sh\nexit 1\n")
    options.demanded(["--anything"])
    assert options.taken((("--shutdown-timeout", "30"),)) == []
