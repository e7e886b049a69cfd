# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

from rig.configuration import RigError
from rig.control_plane import build

FAKE_GO = """#!{python}
import json, pathlib, sys
module = pathlib.Path({module!r})
words = sys.argv[1:]
if words == ["version"]:
    print("go version go1.26.9 linux/amd64")
elif words[:2] == ["mod", "download"]:
    print(json.dumps({{"GoMod": str(module / "go.mod"), "Dir": str(module)}}))
elif words[0] == "build":
    output = pathlib.Path(words[words.index("-o") + 1])
    if output.name in {broken!r}:
        sys.exit("undefined: everything")
    output.write_text(pathlib.Path("go.mod").read_text())
    with (module / "built").open("a") as stream:
        stream.write(output.name + "\\n")
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH."""
    folder = tmp_path / "path"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    return folder


def _program(folder: Path, name: str, version: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\necho '{version}'\n")
    (folder / name).chmod(0o755)


def _go(path: Path, module: Path, broken: tuple[str, ...] = ()) -> Path:
    """A `go` that builds at once, from a module with what the build reads of the real ones; the list of what it built."""
    stages = module / "kustomize" / "stage"
    for name in build.KWOK_STAGES:
        (stages / name).parent.mkdir(parents=True, exist_ok=True)
        (stages / name).write_text(f"name: {name}")
    (module / "go.mod").write_text("require (\n\tk8s.io/api v0.0.0\n\tk8s.io/utils v1.2.3\n)\n")
    program = path / "go"
    program.write_text(FAKE_GO.format(python=sys.executable, module=str(module), broken=broken))
    program.chmod(0o755)
    return module / "built"


def test_what_is_missing_is_built_once_with_one_line_each(path: Path, tmp_path: Path) -> None:
    built = _go(path, tmp_path / "module")
    lines: list[str] = []
    programs = build.ensure_programs(tmp_path / "cache", lines.append)
    names = [program.name for program in build.PROGRAMS]
    assert built.read_text().split() == names
    assert sorted(programs) == sorted(names)
    assert all(program.exists() for program in programs.values())
    assert [line for line in lines if line.startswith("build") and line.endswith(" s")] != []
    assert "k8s.io/api => k8s.io/api v0.37.2" in programs["kube-apiserver"].read_text()
    assert "k8s.io/utils =>" not in programs["kube-apiserver"].read_text()
    assert build.stages_file(programs["kwok"]).read_text().count("\n---\n") == len(build.KWOK_STAGES) - 1
    lines.clear()
    assert build.ensure_programs(tmp_path / "cache", lines.append) == programs
    assert lines == []


def test_a_build_that_failed_goes_on_where_it_was(path: Path, tmp_path: Path) -> None:
    built = _go(path, tmp_path / "module", broken=("kube-scheduler",))
    with pytest.raises(RigError, match="undefined: everything"):
        build.ensure_programs(tmp_path / "cache", lambda _line: None)
    before = built.read_text().split()
    assert "kube-apiserver" in before
    _go(path, tmp_path / "module")
    build.ensure_programs(tmp_path / "cache", lambda _line: None)
    after = built.read_text().split()[len(before) :]
    assert after == [program.name for program in build.PROGRAMS if program.name not in before]


def test_another_version_is_another_folder() -> None:
    program = build.PROGRAMS[0]
    folders = {
        program.folder_name,
        dataclasses.replace(program, version="v9.9.9").folder_name,
        dataclasses.replace(program, linker_flags=("-X a=b",)).folder_name,
    }
    assert len(folders) == 3
    assert dataclasses.replace(program, minutes="a day").folder_name == program.folder_name


def test_good_programs_of_the_machine_are_taken(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _go(path, tmp_path / "module")
    assets = tmp_path / "assets"
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(assets))
    for name in build.KUBERNETES_PROGRAMS:
        _program(assets, name, "Kubernetes v1.35.4")
    _program(path, "etcd", "etcd Version: 3.6.5")
    _program(path, "helm", "v3.18.1+gabcdef")
    lines: list[str] = []
    programs = build.ensure_programs(tmp_path / "cache", lines.append)
    assert programs["kube-apiserver"] == assets / "kube-apiserver"
    assert programs["etcd"] == path / "etcd"
    assert programs["helm"] == path / "helm"
    assert f"found   etcd 3.6: {path / 'etcd'}" in lines


@pytest.mark.parametrize(("name", "version"), [("helm", "v4.0.1+g1"), ("etcd", "etcd Version: 3.4.9"), ("etcd", "?")])
def test_programs_of_other_versions_are_built(path: Path, tmp_path: Path, name: str, version: str) -> None:
    _go(path, tmp_path / "module")
    _program(path, name, version)
    lines: list[str] = []
    programs = build.ensure_programs(tmp_path / "cache", lines.append)
    assert programs[name].is_relative_to(tmp_path / "cache")
    assert any("not used" in line for line in lines)


def test_kubernetes_is_taken_whole_or_not_at_all(path: Path, tmp_path: Path) -> None:
    _go(path, tmp_path / "module")
    _program(path, "kube-apiserver", "Kubernetes v1.36.0")
    _program(path, "kube-scheduler", "Kubernetes v1.36.0")
    lines: list[str] = []
    programs = build.ensure_programs(tmp_path / "cache", lines.append)
    assert all(programs[name].is_relative_to(tmp_path / "cache") for name in build.KUBERNETES_PROGRAMS)
    assert any("building all three" in line for line in lines)


def test_a_rigs_own_links_are_not_found(path: Path, tmp_path: Path) -> None:
    _go(path, tmp_path / "module")
    programs = build.ensure_programs(tmp_path / "cache", lambda _line: None)
    programs["etcd"].write_text("#!/bin/sh\necho 'etcd Version: 3.7.3'\n")
    programs["etcd"].chmod(0o755)
    (path / "etcd").symlink_to(programs["etcd"])
    assert build.ensure_programs(tmp_path / "cache", lambda _line: None) == programs
