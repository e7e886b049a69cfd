# SPDX-License-Identifier: GPL-3.0-or-later
"""The tree itself: what holds for every file, whoever adds one."""

from __future__ import annotations

import ast
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.tools.setup import REPOSITORY

LINKED = ("plugins", "roles", "meta", "galaxy.yml")
# Longer than this a file has a seam.
MOST_LINES = 450
REFUSED_NAMES = {"_", "bar", "baz", "foo", "tata", "toto", "tutu"}
HEADER = (
    "# Copyright: multinode.inference contributors\n"
    "# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)\n"
)


def tracked(*patterns: str) -> list[Path]:
    """The files that git tracks and that are there, in the order of their names; links are left out."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", *patterns]
    names = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout.split("\0")
    paths = [REPOSITORY / name for name in names if name]
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def name_of(path: Path) -> str:
    """The path as a test's name."""
    return str(path.relative_to(REPOSITORY))


def load(name: str) -> dict:
    """A YAML file of the tree."""
    return yaml.safe_load((REPOSITORY / name).read_text())


@pytest.mark.parametrize("name", LINKED)
def test_the_playbooks_find_this_tree_beside_them(name: str) -> None:
    folder = REPOSITORY / "playbooks" / "collections" / "ansible_collections" / "multinode" / "inference"
    assert not folder.is_symlink()
    assert (folder / name).is_symlink()
    assert os.readlink(folder / name) == f"../../../../../{name}"
    assert (folder / name).resolve() == REPOSITORY / name


def test_nothing_else_is_linked_beside_the_playbooks() -> None:
    folder = REPOSITORY / "playbooks" / "collections" / "ansible_collections" / "multinode" / "inference"
    assert sorted(entry.name for entry in folder.iterdir()) == sorted(LINKED)


def test_plugin_files_begin_with_the_licence() -> None:
    found = []
    for path in tracked("plugins/*.py"):
        text = path.read_text()
        if path.parent.name == "modules":
            text = text.removeprefix("#!/usr/bin/python\n")
        if text and not text.startswith(HEADER):  # sanity wants an empty __init__.py
            found.append(name_of(path))
    assert found == []


def test_files_of_the_collection_are_short_enough_to_read() -> None:
    files = tracked("plugins/*.py", "roles/*.py", "roles/*.yml", "playbooks/*.yml")
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in files}
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}, "find the seam"


def test_names_that_sanity_refuses() -> None:
    """`ansible-test sanity` (pylint, disallowed-name) says the same, two minutes later."""
    found = [
        f"{name_of(path)}:{node.lineno}: {node.id}"
        for path in tracked("plugins/*.py", "roles/*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in REFUSED_NAMES
    ]
    assert found == []


def test_the_collection_asserts_nothing() -> None:
    """The same for `assert` (no-assert); what runs in the pods is no plugin."""
    found = [
        f"{name_of(path)}:{node.lineno}"
        for path in tracked("plugins/*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assert)
    ]
    assert found == []


def test_no_path_of_one_machine_in_the_tree() -> None:
    home = re.compile(r"(?<![\w.-])/(?:home/\w|Users/\w|root/[\w.])")
    found = []
    for path in tracked():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found += [
            f"{name_of(path)}:{number}: {line.strip()}"
            for number, line in enumerate(text.splitlines(), 1)
            if home.search(line) and "/home/ray" not in line and path != Path(__file__)
        ]
    assert found == []


def test_the_lock_names_no_index() -> None:
    text = (REPOSITORY / "requirements-dev.txt").read_text()
    assert not re.search(r"--(extra-)?index-url|--find-links|--trusted-host|://", text)


def test_the_lock_holds_what_is_asked_for() -> None:
    locked = dict(
        re.findall(r"^([a-z0-9._-]+)==(\S+)", (REPOSITORY / "requirements-dev.txt").read_text(), re.MULTILINE)
    )
    asked = (REPOSITORY / "requirements-dev.in").read_text() + (REPOSITORY / "requirements.txt").read_text()
    names = re.findall(r"^([A-Za-z0-9._-]+)", asked.replace("-r requirements.txt", ""), re.MULTILINE)
    missing = [name for name in names if re.sub(r"[._-]+", "-", name).lower() not in locked]
    assert missing == [], "run `make lock`"


def test_versions_agree() -> None:
    version = load("galaxy.yml")["version"]
    releases = load("changelogs/changelog.yaml")["releases"]
    assert version in releases
    assert f"v{version}".replace(".", "\\.") in (REPOSITORY / "CHANGELOG.md").read_text()


def test_the_changelog_names_every_module_and_role_plugin() -> None:
    releases = load("changelogs/changelog.yaml")["releases"].values()
    named = {module["name"] for release in releases for module in release.get("modules", [])}
    assert named == {path.stem for path in tracked("plugins/modules/*.py")}, "run antsibull-changelog (CONTRIBUTING.md)"


def test_the_execution_environment_names_files_that_are_there() -> None:
    dependencies = load("meta/execution-environment.yml")["dependencies"]
    assert [name for name in dependencies.values() if not (REPOSITORY / name).is_file()] == []
