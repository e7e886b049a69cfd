# SPDX-License-Identifier: GPL-3.0-or-later
"""`make bench [B=name]`: runs each benchmark, a folder here with a `bench.py` whose `main()` prints its table.

Every figure is a ratio against something measured in the same run: the machine's speed drops out.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path


def main(names: list[str]) -> int:
    here = Path(__file__).parent
    known = sorted(folder.parent.name for folder in here.glob("*/bench.py"))
    for name in names:
        if name not in known:
            print(f"no benchmark {name}; there are {', '.join(known)}", file=sys.stderr)
            return 2
    for name in names or known:
        print(f"== {name}", flush=True)
        importlib.import_module(f"benchmarks.{name}.bench").main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
