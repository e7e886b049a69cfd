# SPDX-License-Identifier: GPL-3.0-or-later
"""Every check that reads the tree without running it; all of them run, each says how long it took, one that fails fails the whole.

Checks that want a collection where Ansible expects one get the tarball, built and installed into a temporary folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.tools import build
from tests.tools.environments import program
from tests.tools.setup import REPOSITORY

PLUGINS = "ansible_collections.multinode.inference.plugins"
PROGRAMS = "roles/raycluster/files"

# Where names are keys of data: tables that are generated, and the types of the plan.
DATA = ("*/core/catalog/vllm/*", "*/core/plan/types.py")


class Checks:
    """Runs checks one after the other and remembers what failed."""

    def __init__(self) -> None:
        self.failed: list[str] = []

    def run(
        self, name: str, command: Sequence[str | Path], cwd: Path = REPOSITORY, env: Mapping[str, str] | None = None
    ) -> bool:
        """Run one check; its output is shown only when it fails."""
        begin = time.monotonic()
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # some of these tools call others by name
        done = subprocess.run(
            [str(word) for word in command],
            cwd=cwd,
            env={**os.environ, "PATH": path, "NO_COLOR": "1", **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        good = done.returncode == 0
        print(f"lint: {name:<32} {'ok' if good else 'FAILED'} ({time.monotonic() - begin:.1f} s)", flush=True)
        if not good:
            self.failed.append(name)
            print(done.stdout, flush=True)
        return good

    def skip(self, name: str, reason: str) -> None:
        """Say that a check cannot run here, and why."""
        print(f"lint: {name:<32} not run: {reason}", flush=True)


def style(checks: Checks) -> None:
    """What takes seconds: ruff and mypy."""
    checks.run("ruff check", [program("ruff"), "check", "."])
    checks.run("ruff format", [program("ruff"), "format", "--check", "."])
    checks.run("mypy, plugins", [program("mypy"), "-p", PLUGINS])
    # In the pods the programs lie in one folder and import each other by name.
    checks.run("mypy, programs of the pods", [program("mypy"), PROGRAMS], env={"MYPYPATH": PROGRAMS})


def documents(checks: Checks) -> None:
    """YAML, playbooks and roles, changelog, shell scripts."""
    # Of the product alone: what only tests use is dead.
    checks.run("vulture", [program("vulture"), "plugins", "roles", "tests/tools", "--exclude", ",".join(DATA)])
    checks.run("yamllint", [program("yamllint"), "-s", "."])
    # ansible-lint keeps a folder .ansible in the tree; --offline, else it installs this collection below the user's home
    checks.run("ansible-lint, production", [program("ansible-lint"), "--offline", "--profile", "production"])
    checks.run("antsibull-changelog", [program("antsibull-changelog"), "lint"])
    changelog = ["lint-changelog-yaml", "--strict", "changelogs/changelog.yaml"]
    checks.run("antsibull-changelog, released", [program("antsibull-changelog"), *changelog])
    tracked = ["git", "-c", "safe.directory=*", "ls-files", "*.sh", ".ci/run"]
    scripts = subprocess.run(tracked, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout.split()
    if shutil.which("shellcheck"):
        checks.run("shellcheck", ["shellcheck", *scripts])
    else:
        checks.skip("shellcheck", "the program is missing (Debian package shellcheck)")


def built(checks: Checks, folder: Path) -> None:
    """The collection as users get it."""
    tarball = build.build(folder / "dist")
    (folder / "installed").mkdir()
    collection = build.install(tarball, folder / "installed")
    paths = {"ANSIBLE_COLLECTIONS_PATH": f"{folder / 'installed'}:{REPOSITORY / '.deps'}"}

    docs = [
        "lint-collection-docs",
        "--plugin-docs",
        "--validate-collection-refs",
        "all",
        "--check-extra-docs-refs",
        ".",
    ]
    checks.run("antsibull-docs", [program("antsibull-docs"), *docs], collection, paths)
    checks.run("ansible-test sanity", [sys.executable, "-m", "tests.tools.sanity", str(collection)])
    checks.run("galaxy-importer", [sys.executable, "-m", "tests.tools.importer", tarball])


def main(quick: bool = False) -> int:
    """All checks, or with `quick` those that take seconds; the exit code is the verdict."""
    checks = Checks()
    style(checks)
    if not quick:
        documents(checks)
        with tempfile.TemporaryDirectory(prefix="lint-") as folder:
            built(checks, Path(folder))
    if checks.failed:
        print(f"lint: failed: {', '.join(checks.failed)}", flush=True)
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main(quick="--quick" in sys.argv[1:]))
