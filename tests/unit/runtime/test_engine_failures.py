# SPDX-License-Identifier: GPL-3.0-or-later
"""Each failure in failures/*.txt, by the log lines that matter, gets its cause and whether a restart can help.

A block is `where, class: words of the cause` and the message below it. server: an exception of the API server before a rank starts;
core and rank: theirs; alone: the lines as they are, with the engine's exit code before the comma where it is not 1.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.runtime.engines import CORE, RANK, end, raised

SERVER = "(APIServer pid=1)"
LAST = raised(SERVER, "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}")
BLOCKS = [
    block
    for path in sorted(Path(__file__).with_name("failures").glob("*.txt"))
    for block in re.split(r"\n\n(?=\w)", path.read_text().strip())
]
HEADER = re.compile(r"(server|core|rank|alone)(?: (-?\d+))?, (lasting|passing): (.+)")


def _lines(where: str, message: list[str]) -> list[str]:
    if where == "alone":
        return message
    if where == "server":
        return raised(SERVER, *message)
    started = [f"{RANK.split('ERROR', maxsplit=1)[0]}INFO 11-30 14:04:25 [parallel_state.py:9] rank 1 of 2"]
    if where == "core":
        return [*started, f"{CORE} EngineCore failed to start.", *raised(CORE, *message), *LAST]
    pointer = "Exception: WorkerProc initialization failed due to an exception in a background process. See stack trace for root cause."
    ends = [f"{CORE} EngineCore failed to start.", *raised(CORE, pointer), *LAST]
    return [*started, f"{RANK} WorkerProc failed to start.", *raised(RANK, *message), *ends]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split("\n")[1].strip()[:60])
def test_a_failure_gives_its_cause_and_its_class(block: str) -> None:
    header, *message = block.splitlines()
    found = HEADER.fullmatch(header)
    assert found is not None, header
    where, code, kind, words = found.groups()
    failure = end(_lines(where, [line[4:].replace("RANK", RANK) for line in message]), int(code or 1))
    assert words in failure.cause, failure.cause
    assert failure.lasting is (kind == "lasting"), failure.cause
    assert where != "rank" or "stage 1 (192.0.2.8): " in failure.cause
