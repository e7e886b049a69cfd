# SPDX-License-Identifier: GPL-3.0-or-later
"""Write requirements-dev.txt from requirements-dev.in, naming no index."""

from __future__ import annotations

import subprocess

from tests.tools.environments import environment
from tests.tools.setup import REPOSITORY

UV = "uv==0.13.9"


def main() -> None:
    """Resolve for Python 3.11; versions already in the lock stay where they still fit."""
    command = [environment("uv", UV) / "bin" / "uv", "pip", "compile", "--quiet", "--python-version", "3.11"]
    options = ["--no-header", "--no-emit-index-url", "--no-emit-find-links", "--strip-extras"]
    files = ["requirements-dev.in", "--output-file", "requirements-dev.txt"]
    subprocess.run([*command, *options, *files], cwd=REPOSITORY, check=True)


if __name__ == "__main__":
    main()
