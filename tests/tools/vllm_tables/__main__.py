# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the tables of vLLM's versions from the packages' source: `make vllm-tables`."""

from __future__ import annotations

from tests.tools.vllm_tables.packages import VERSIONS
from tests.tools.vllm_tables.write import write

if __name__ == "__main__":
    print(f"vLLM {', '.join(VERSIONS)}")
    for path in write() or ["nothing changed"]:
        print(path)
