# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the parts of `make test`, say how long each took, and end with what failed.

    python -m tests.tools.check all|quick|soak|PART [--match NAME]

A part that fails does not keep the others from running; the exit code is 0 only when all were good.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import subprocess
import sys
import time
from collections.abc import Sequence

from rig.configuration import rig_directory
from tests.tools.setup import REPOSITORY

PYTEST = (sys.executable, "-m", "pytest", "--color=no")
TWO_PROCESSES = ("-n", "2")  # as many as the smallest machine has cores
# Some wait for clocks more than they work; those who are done take from the others.
SHARED_OUT = ("-n", "3", "--dist", "worksteal")

PARTS: dict[str, tuple[str, ...]] = {
    "style": (sys.executable, "-m", "tests.tools.lint", "--quick"),
    "lint": (sys.executable, "-m", "tests.tools.lint"),
    "rig-up": (sys.executable, "-m", "rig", "up"),
    "rig-down": (sys.executable, "-m", "rig", "down"),
    "unit": (*PYTEST, *SHARED_OUT, "-q", "-m", "not soak", "tests/unit", "rig/tests/unit"),
    "unit-quick": (
        *PYTEST,
        *TWO_PROCESSES,
        "--dist",
        "worksteal",
        "-q",
        "-m",
        "not processes and not soak",
        "tests/unit",
        "rig/tests/unit",
    ),
    "molecule": (sys.executable, "-m", "tests.tools.molecule"),
    # rig/fixtures.py says which tests stay together, and in which order
    "e2e": (
        *(*PYTEST, *TWO_PROCESSES, "--no-loadscope-reorder", "-v", "--durations=20"),
        *("-m", "not soak and not packaging", "tests/e2e", "rig/tests/e2e"),
    ),
    "packaging": (*PYTEST, "-v", "--durations=10", "-m", "packaging and not soak", "tests/e2e/test_packaging.py"),
    "properties": ("env", "HYPOTHESIS_PROFILE=soak", *PYTEST, *TWO_PROCESSES, "-q", "-m", "hypothesis", "tests/unit"),
    "long": (
        *(*PYTEST, *TWO_PROCESSES, "--no-loadscope-reorder", "-v", "--durations=10"),
        *("-m", "soak and not real_vllm", "tests/e2e", "tests/unit", "rig/tests"),
    ),
    "real-vllm": (sys.executable, "-m", "tests.tools.real_vllm"),
    "e2e-real": (
        *(*PYTEST, "-v", "-s", "--durations=10", "-m", "real_vllm"),
        *("tests/e2e/test_real_vllm_python.py", "tests/e2e/test_real_vllm.py"),
    ),
}

GROUPS = {
    "all": ("lint", "unit", "rig-up", "packaging", "molecule", "e2e", "rig-down"),
    "quick": ("style", "unit-quick"),
    "soak": ("properties", "real-vllm", "rig-up", "long", "e2e-real", "rig-down"),
}

# "==== 12 passed, 1 skipped in 3.45s ====" and the same without the rules
CLOSING_LINE = re.compile(r"^=* ?((?:\d+ \w+(?:, )?)+ in [\d.]+s(?: \([\d:]+\))?) ?=*$")


@dataclasses.dataclass
class Outcome:
    """How one part ended; `closing` is pytest's last line, empty for parts that are not pytest."""

    part: str
    good: bool
    seconds: float
    closing: str


def run(part: str, more: Sequence[str]) -> Outcome:
    """Run one part, passing its output through as it comes."""
    print(f"\n===== {part} =====", flush=True)
    begin = time.monotonic()
    closing = ""
    command = [*PARTS[part], *more]
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            if found := CLOSING_LINE.match(line.strip()):
                closing = found.group(1)
    return Outcome(part, process.returncode == 0, time.monotonic() - begin, closing)


def total(outcomes: Sequence[Outcome]) -> str:
    """The closing lines of all pytest parts added up, in pytest's own form."""
    counts: dict[str, int] = {}
    for outcome in outcomes:
        for number, word in re.findall(r"(\d+) (\w+)(?=,| in )", outcome.closing):
            counts[word] = counts.get(word, 0) + int(number)
    order = sorted(counts, key=lambda word: (word != "failed", word != "passed", word))
    words = ", ".join(f"{counts[word]} {word}" for word in order)
    return f"{words or 'no tests ran'} in {sum(outcome.seconds for outcome in outcomes):.2f}s"


def main() -> int:
    """Run what was asked for; print one line for each part at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*GROUPS, *PARTS])
    parser.add_argument("--match", help="only tests whose name matches (pytest -k)")
    options = parser.parse_args()
    more = ["-k", options.match] if options.match else []

    parts = GROUPS.get(options.what, (options.what,))
    if (rig_directory() / "env").exists():  # up before this: left as it is
        parts = tuple(part for part in parts if not part.startswith("rig-"))
    outcomes = [run(part, more) for part in parts]
    print("\n===== how long each part took =====")
    for outcome in outcomes:
        verdict = "ok" if outcome.good else "FAILED"
        print(f"{outcome.part:<12} {outcome.seconds:7.1f} s  {verdict:<7} {outcome.closing}")
    failed = [outcome.part for outcome in outcomes if not outcome.good]
    if failed:
        print(f"failed: {', '.join(failed)}")
    print(f"==== {total(outcomes)} ====", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
