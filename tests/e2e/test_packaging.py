# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection as users have it: a checkout in any folder, a project of AWX, an installed tarball."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

from rig import samples
from rig.fixtures import RunningRig, Tenancy
from tests.e2e.awx_job import DEPENDENCIES, forced_environment, lay_out
from tests.tools import build, importer
from tests.tools.environments import environment, program
from tests.tools.setup import REPOSITORY

pytestmark = pytest.mark.packaging

# deploy first: it is the one that runs.
PLAYBOOKS = ("deploy", "benchmark", "keys", "logs", "pause", "plan", "resume", "status", "undeploy")
# What a run without a recipe says, among other things.
MISSED = "oke_cluster_id: not given"


@pytest.fixture(scope="module")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build.build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a fresh clone holds; nothing that `make` made."""
    folder = tmp_path_factory.mktemp("clone")
    build.copy_tracked(folder)
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A user's home, where kubernetes.core is installed as ansible-galaxy does it."""
    collections = tmp_path / "home" / ".ansible" / "collections" / "ansible_collections"
    collections.mkdir(parents=True)
    (collections / "kubernetes").symlink_to(DEPENDENCIES / "kubernetes")
    return tmp_path / "home"


def environment_of(home: Path, **more: str) -> dict[str, str]:
    """The environment of a user who has set nothing for Ansible, and has the Ansible of the lock."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    return {**kept, "HOME": str(home), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **more}


def ansible_playbook(
    *words: str, cwd: Path, env: dict[str, str], timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    found = shutil.which("ansible-playbook", path=env["PATH"])
    assert found is not None
    return subprocess.run(
        [found, *words], cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout, check=False
    )


def assert_runs(playbooks: list[str], *options: str, cwd: Path, env: dict[str, str]) -> None:
    """Each playbook is read; the first one's first task, an action plugin of ours, runs, misses the recipe, and says so."""
    checked = ansible_playbook("--syntax-check", *options, *playbooks, cwd=cwd, env=env)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    ran = ansible_playbook(*options, playbooks[0], cwd=cwd, env=env)
    assert ran.returncode != 0, ran.stdout
    assert MISSED in ran.stdout + ran.stderr, ran.stdout + ran.stderr


def test_the_tarball_holds_the_collection_and_nothing_else(tarball: Path) -> None:
    with tarfile.open(tarball) as archive:
        members = archive.getmembers()
    names = {member.name for member in members}
    assert {name.split("/")[0] for name in names} == {
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "FILES.json",
        "LICENSE",
        "MANIFEST.json",
        "README.md",
        "bindep.txt",
        "changelogs",
        "docs",
        "meta",
        "playbooks",
        "plugins",
        "requirements.txt",
        "roles",
        "sample_recipes",
    }
    assert not [member.name for member in members if member.issym() or member.islnk()]
    assert {name for name in names if name.startswith("playbooks/")} == {f"playbooks/{name}.yml" for name in PLAYBOOKS}
    assert not [name for name in names if "__pycache__" in name or "/tests/" in name or "rig" in name.split("/")]


def test_the_tarball_is_the_same_whatever_make_left_behind(tarball: Path, tmp_path: Path) -> None:
    """The names in it are those that git tracks; what a working checkout holds beside them does not count."""
    listing = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files"], cwd=REPOSITORY, check=True, capture_output=True, text=True
    )
    with tarfile.open(tarball) as archive:
        files = {member.name for member in archive.getmembers() if member.isfile()}
    assert files - {"MANIFEST.json", "FILES.json"} <= set(listing.stdout.splitlines())


def test_installed_from_the_tarball(tarball: Path, home: Path, tmp_path: Path) -> None:
    build.install(tarball, home / ".ansible" / "collections")
    assert_runs([f"multinode.inference.{name}" for name in PLAYBOOKS], cwd=tmp_path, env=environment_of(home))


def test_the_installed_files_are_those_of_the_manifest(tarball: Path, home: Path) -> None:
    collections = home / ".ansible" / "collections"
    build.install(tarball, collections)
    command = [program("ansible-galaxy"), "collection", "verify", "--offline", "multinode.inference"]
    verified = subprocess.run(command, env=environment_of(home), capture_output=True, text=True, check=False)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_a_clone(clone: Path, home: Path) -> None:
    assert_runs([f"playbooks/{name}.yml" for name in PLAYBOOKS], cwd=clone, env=environment_of(home))


def test_the_oldest_ansible_that_it_promises(clone: Path, home: Path) -> None:
    """A real deployment with each version is in test_supported_cores.py."""
    promised = yaml.safe_load((REPOSITORY / "meta" / "runtime.yml").read_text())["requires_ansible"]
    oldest = promised.removeprefix(">=").rpartition(".")[0]
    folder = environment(f"core-{oldest}", f"ansible-core=={oldest}.*")
    env = environment_of(home)
    env["PATH"] = f"{folder / 'bin'}:{env['PATH']}"
    assert_runs([f"playbooks/{name}.yml" for name in PLAYBOOKS], cwd=clone, env=env)


def test_a_clone_from_another_folder(clone: Path, home: Path, tmp_path: Path) -> None:
    """There ansible.cfg of the clone is not read; Ansible looks beside the playbook by itself."""
    assert_runs([f"{clone}/playbooks/{name}.yml" for name in PLAYBOOKS], cwd=tmp_path, env=environment_of(home))


def test_a_clone_in_a_folder_with_an_odd_name(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a folder, with a café"
    folder.mkdir()
    build.copy_tracked(folder)
    assert_runs(["playbooks/deploy.yml"], cwd=folder, env=environment_of(home))


def test_a_clone_that_cannot_be_written(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clone"
    build.copy_tracked(folder)
    before = sorted(folder.rglob("*"))
    env = environment_of(home)
    if os.geteuid() == 0:  # root writes whatever the mode says: a read-only mount, in a mount namespace of its own
        script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && cd "$0" && exec "$@"'
        inside = ["unshare", "--mount", "sh", "-c", script, str(folder)]
    else:
        for path in [folder, *before]:
            if not path.is_symlink():
                path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
        inside = ["sh", "-c", 'cd "$0" && exec "$@"', str(folder)]
    command = [*inside, program("ansible-playbook"), "playbooks/deploy.yml"]
    ran = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert MISSED in ran.stdout + ran.stderr, ran.stdout + ran.stderr
    assert sorted(folder.rglob("*")) == before


def test_a_clone_beside_an_installed_copy(clone: Path, tarball: Path, home: Path) -> None:
    """The playbook of a clone runs the roles and plugins of that clone, never those of another version."""
    installed = build.install(tarball, home / ".ansible" / "collections")
    for path in [*installed.glob("plugins/action/*.py"), *installed.glob("roles/*/tasks/main.yml")]:
        path.write_text("the installed copy ran")
    env = environment_of(home)
    assert_runs(["playbooks/deploy.yml"], cwd=clone, env=env)
    assert_runs([f"{clone}/playbooks/deploy.yml"], cwd=home, env=env)


def test_whatever_ansible_is_configured_to_do(clone: Path, home: Path, tmp_path: Path) -> None:
    """Other strategies, templates and privileges, and an inventory that has no localhost."""
    inventory = tmp_path / "hosts"
    inventory.write_text("[all]\nsomewhere.example.com\n")
    settings = {
        "ANSIBLE_STRATEGY": "free",
        "ANSIBLE_BECOME": "true",
        "ANSIBLE_HASH_BEHAVIOUR": "merge",
        "ANSIBLE_INJECT_FACT_VARS": "false",
        "ANSIBLE_JINJA2_NATIVE": "true",
        "ANSIBLE_ERROR_ON_UNDEFINED_VARS": "false",
        "ANSIBLE_STDOUT_CALLBACK": "minimal",
        "ANSIBLE_NOCOLOR": "true",
        "ANSIBLE_CACHE_PLUGIN": "jsonfile",
        "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(tmp_path / "facts"),
    }
    ran = ansible_playbook(
        *("-vvv", "--check", "--diff", "-i", str(inventory), "playbooks/deploy.yml"),
        cwd=clone,
        env=environment_of(home, **settings),
    )
    assert ran.returncode == 2 and MISSED in ran.stdout, ran.stdout + ran.stderr
    assert "\x1b" not in ran.stdout


def test_whatever_the_shell_is_like(clone: Path, home: Path, tmp_path: Path) -> None:
    """Without a home in the environment and a locale, with a proxy that does not answer, and files for nobody else."""
    env = environment_of(home, http_proxy="http://127.0.0.1:9", https_proxy="http://127.0.0.1:9", TMPDIR=str(tmp_path))
    env["ANSIBLE_COLLECTIONS_PATH"] = str(home / ".ansible" / "collections")
    for name in ("HOME", "LANG", "LC_ALL"):
        env.pop(name, None)
    command = ["sh", "-c", 'umask 077 && exec "$@"', "sh", program("ansible-playbook"), "playbooks/deploy.yml"]
    ran = subprocess.run(command, cwd=clone, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 2 and MISSED in ran.stdout + ran.stderr, ran.stdout + ran.stderr


def test_a_run_that_leaves_out_tasks_says_so(clone: Path, home: Path) -> None:
    for task in ("Show the plan", "Wait for a token", "Report"):
        ran = ansible_playbook("playbooks/deploy.yml", "--start-at-task", task, cwd=clone, env=environment_of(home))
        assert ran.returncode == 2 and "--start-at-task, --step and tags leave out tasks" in ran.stdout, ran.stdout


@pytest.fixture
def awx_job(clone: Path, tmp_path: Path) -> Path:
    """The folder of one job as AWX lays it out."""
    lay_out(clone, tmp_path / "job")
    return tmp_path / "job"


def test_a_project_of_awx(awx_job: Path, tmp_path: Path) -> None:
    """With a forced collections path, an inventory that names localhost, and a home that holds nothing."""
    empty = tmp_path / "empty"
    empty.mkdir()
    env = environment_of(empty, **forced_environment(awx_job, empty))
    project = awx_job / "project"
    assert_runs(["playbooks/deploy.yml"], "-i", str(awx_job / "inventory"), cwd=project, env=env)


def test_awx_lists_the_playbooks(clone: Path) -> None:
    """AWX offers each .yml outside of roles, tasks and the like that has a line beginning with `hosts:`."""
    left_out = {"roles", "tasks", "group_vars", "host_vars"}
    play = re.compile(r"^\s*-?\s*hosts:", re.MULTILINE)
    offered = [
        str(path.relative_to(clone))
        for path in sorted(clone.rglob("*.yml"))
        if not any(part in left_out or part.startswith(".") for part in path.relative_to(clone).parts)
        and play.search(path.read_text())
    ]
    assert [name for name in offered if name.startswith("playbooks/")] == [
        f"playbooks/{name}.yml" for name in sorted(PLAYBOOKS)
    ]


def test_an_execution_environment_gets_what_the_modules_import(tarball: Path, tmp_path: Path) -> None:
    """ansible-builder reads meta/execution-environment.yml of the installed collection."""
    build.install(tarball, tmp_path)
    builder = environment("galaxy-importer", *importer.REQUIREMENTS) / "bin" / "ansible-builder"
    listed = subprocess.run([builder, "introspect", str(tmp_path)], capture_output=True, text=True, check=True)
    found = yaml.safe_load(listed.stdout)
    python = {re.split(r"[<>=#\s]", line)[0].lower() for line in found["python"]}
    # PyYAML is not listed: ansible-builder leaves out what ansible-core brings
    assert python == {"oci", "cryptography", "kubernetes", "jmespath", "python-dateutil"}


def test_ansible_builder_takes_the_definition_of_the_image(clone: Path, tmp_path: Path) -> None:
    """What `ansible-builder build` hands to podman, but for the base image, which is not asked for."""
    builder = environment("galaxy-importer", *importer.REQUIREMENTS) / "bin" / "ansible-builder"
    context = tmp_path / "context"
    command = [builder, "create", "--file", "execution-environment.yml", "--context", context]
    made = subprocess.run(command, cwd=clone, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    for name in ("requirements.txt", "bindep.txt", "collections/requirements.yml"):
        assert (context / "_build" / Path(name).name).read_text() == (clone / name).read_text()
    assert "/usr/local/bin linux-${machine}/helm" in (context / "Dockerfile").read_text()


def test_deploys_from_the_tarball(rig: RunningRig, tenancy: Tenancy, tarball: Path, home: Path, tmp_path: Path) -> None:
    """For real, twice, in a folder that has nothing of the checkout; then removed."""
    build.install(tarball, home / ".ansible" / "collections")
    samples.put_model(tenancy.json, rig.configuration)
    recipe = tmp_path / "recipe.json"
    named = samples.recipe(samples.make_par(tenancy.json, rig.configuration), deployment_name="from the tarball")
    recipe.write_text(json.dumps(named))
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps({**tenancy.settings, "result_file": str(tmp_path / "result.json")}))
    env = environment_of(home)
    env["PATH"] = f"{env['PATH']}:{rig.directory / 'bin'}"  # helm

    def run(playbook: str) -> str:
        given = ["-e", f"@{recipe}", "-e", f"@{settings}"]
        ran = ansible_playbook(f"multinode.inference.{playbook}", *given, cwd=tmp_path, env=env, timeout=600)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    run("deploy")
    assert json.loads((tmp_path / "result.json").read_text())["completion"]
    assert "changed=0 " in run("deploy")
    run("undeploy")
