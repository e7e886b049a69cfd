# SPDX-License-Identifier: GPL-3.0-or-later
"""galaxy-importer on a tarball, with its warnings taken as failures: `python -m tests.tools.importer TARBALL`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.tools.environments import environment
from tests.tools.setup import REPOSITORY

# attrs<24 and flake8<7: does not go together with the development environment
REQUIREMENTS = ("galaxy-importer==0.4.44", "ansible-core==2.19.14")


def main(tarball: Path) -> int:
    """Import `tarball` as Galaxy would; 1 when the import ends or warns."""
    programs = environment("galaxy-importer", *REQUIREMENTS) / "bin"
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            [programs / "python", "-m", "galaxy_importer.main", tarball],
            cwd=home,
            env={
                **os.environ,
                "PATH": f"{programs}:{os.environ['PATH']}",
                "HOME": home,
                # It would show ansible-lint no other collection than this one; tests/tools/lint.py runs it with those that it needs.
                "GALAXY_IMPORTER_RUN_ANSIBLE_LINT": "false",
                "ANSIBLE_COLLECTIONS_PATH": str(REPOSITORY / ".deps"),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    print(done.stdout)
    problems = [line for line in done.stdout.splitlines() if re.match("WARNING|ERROR", line)]
    return 1 if done.returncode or problems else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
