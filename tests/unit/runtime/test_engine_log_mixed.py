# SPDX-License-Identifier: GPL-3.0-or-later
"""Logs as nobody wrote them: real ones cut, mixed, and filled with bytes; whatever comes, the answer is one short line or none."""

from __future__ import annotations

import random

import engine_error
import engine_log
import pytest

from rig.configuration import REPOSITORY

LOGS = [path.read_text().splitlines() for path in sorted((REPOSITORY / "rig/images/vllm-ray/failures").glob("*.log"))]


def _mixed(seed: int) -> list[str]:
    chance = random.Random(seed)
    sources = [list(chance.choice(LOGS)) for _log in range(3)]
    lines = []
    while any(sources):
        source = chance.choice([each for each in sources if each])
        taken = chance.randint(1, 12)
        lines += source[:taken]
        del source[: taken + chance.randint(0, 3)]
    for _cut in range(len(lines) // 20):
        at = chance.randrange(len(lines))
        line = lines[at]
        kind = chance.randrange(4)
        if kind == 0:
            lines[at] = line[: chance.randint(0, len(line))]
        elif kind == 1:
            lines[at] = line[chance.randint(0, len(line)) :]
        elif kind == 2:
            lines[at] = chance.randbytes(200).decode("utf-8", "replace")
        else:
            lines[at] = line + lines[chance.randrange(len(lines))]
    return lines


@pytest.mark.parametrize("seed", range(60))
def test_a_mixed_log_gives_one_line_that_says_something(seed: int) -> None:
    log = engine_log.Log()
    for line in _mixed(seed):
        log.read(line)
    for since in (None, 0.0):
        if root := log.root(since):
            assert 0 < len(root.text) <= engine_error.SHOWN_CHARACTERS
            assert not [each for each in root.text if each < " " or "\x7f" <= each <= "\x9f"]
            assert "Engine core initialization failed" not in root.text
            assert since is None or not root.lasting


def test_each_real_log_gives_the_same_cause_behind_another_start() -> None:
    """The log of an engine is read from its own start on: nothing of another one's is left."""
    log = engine_log.Log()
    for lines in LOGS:
        log.clear()
        for line in lines:
            log.read(line)
        alone = engine_log.Log()
        for line in lines:
            alone.read(line)
        found, expected = log.root(), alone.root()
        assert (found and (found.text, found.cause)) == (expected and (expected.text, expected.cause))
