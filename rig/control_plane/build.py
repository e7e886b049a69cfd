# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs of the control plane: taken from KUBEBUILDER_ASSETS or PATH where a good version is there, else built
from their Go modules, once, into the cache.

Each program has a folder of its own in the cache, named after its version and how it is built, and put there by one
rename: an interrupted build leaves no half program, and goes on where it was. Go's own caches stay until all are built.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rig.configuration import RigError
from rig.control_plane.go import find_go

KUBERNETES_VERSION = "v1.37.2"
STAGING_VERSION = KUBERNETES_VERSION.replace("v1.", "v0.")
"""The modules that Kubernetes keeps in its own tree are published under v0 with the same minor and patch number."""

ETCD_MAIN = """package main

import (
\t"os"

\t"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
"""
"""etcd's own main package lies in a module that cannot be required, its program in one that can."""

KWOK_STAGES = (
    "node/fast/node-initialize.yaml",
    "node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
    "pod/fast/pod-ready.yaml",
    "pod/fast/pod-complete.yaml",
    "pod/fast/pod-delete.yaml",
)
"""Only these: others would play volumes and devices, which are not KWOK's on the rig."""

KUBERNETES_FLAGS = (
    f"-X k8s.io/component-base/version.gitVersion={KUBERNETES_VERSION}",
    "-X k8s.io/component-base/version.gitMajor=1",
    f"-X k8s.io/component-base/version.gitMinor={KUBERNETES_VERSION.split('.')[1]}",
)


@dataclasses.dataclass(frozen=True)
class Program:
    """One program: where its source is, and from which version on a found one will do."""

    name: str
    module: str
    version: str
    package: str
    minutes: str
    """About how long it takes to build, on two cores."""
    linker_flags: tuple[str, ...] = ()
    main: str = ""
    """The text of a main package of our own; empty when `package` is one."""
    stages: tuple[str, ...] = ()
    """Files of the module that are joined into `stages.yaml` beside the program."""
    version_command: tuple[str, ...] = ("--version",)
    oldest: tuple[int, int] = (0, 0)
    newest: tuple[int, int] = (10**6, 0)
    only_built: bool = False

    @property
    def folder_name(self) -> str:
        """The folder in the cache: another one as soon as anything of the build is another."""
        recipe = json.dumps((self.module, self.package, self.linker_flags, self.main, self.stages))
        return f"{self.name}-{self.version}-{hashlib.sha256(recipe.encode()).hexdigest()[:8]}"


def _kubernetes(name: str, minutes: str) -> Program:
    return Program(
        name,
        module="k8s.io/kubernetes",
        version=KUBERNETES_VERSION,
        package=f"k8s.io/kubernetes/cmd/{name}",
        minutes=minutes,
        linker_flags=KUBERNETES_FLAGS,
        oldest=(1, 33),
    )


KUBERNETES_PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
PROGRAMS = (
    Program(
        "etcd",
        module="go.etcd.io/etcd/server/v3",
        version="v3.7.3",
        package=".",
        main=ETCD_MAIN,
        minutes="1 minute",
        oldest=(3, 6),
    ),
    _kubernetes("kube-apiserver", "5 minutes"),
    _kubernetes("kube-controller-manager", "2 minutes"),
    _kubernetes("kube-scheduler", "20 seconds"),
    Program(
        "kwok",
        module="sigs.k8s.io/kwok",
        version="v0.8.0",
        package="sigs.k8s.io/kwok/cmd/kwok",
        minutes="1 minute",
        linker_flags=("-X sigs.k8s.io/kwok/pkg/consts.Version=v0.8.0",),
        stages=KWOK_STAGES,
        only_built=True,  # its stage files must be of its own version
    ),
    Program(
        "helm",
        module="helm.sh/helm/v3",
        version="v3.22.0",
        package="helm.sh/helm/v3/cmd/helm",
        minutes="3 minutes",
        linker_flags=(
            "-X helm.sh/helm/v3/internal/version.version=v3.22.0",
            "-X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1",
            f"-X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor={KUBERNETES_VERSION.split('.')[1]}",
        ),
        version_command=("version", "--short"),
        oldest=(3, 14),
        newest=(3, 10**6),  # the kubernetes.core of the lock calls `helm list --all`, which Helm 4 refuses
    ),
)
# For the tests of the newest versions; a rig itself has Helm 3.
HELM_4 = Program(
    "helm",
    module="helm.sh/helm/v4",
    version="v4.3.2",
    package="helm.sh/helm/v4/cmd/helm",
    minutes="3 minutes",
    linker_flags=("-X helm.sh/helm/v4/internal/version.version=v4.3.2",),
    version_command=("version", "--short"),
    oldest=(4, 0),
)


def ensure_programs(
    cache: Path, say: Callable[[str], None] = print, programs: tuple[Program, ...] = PROGRAMS
) -> dict[str, Path]:
    """The path of every program; builds what is not there, saying one line for each. RigError when a build fails."""
    found = _find_installed(cache, say, programs)
    missing = [program for program in programs if program.name not in found and not _built(cache, program).exists()]
    if missing:
        with _lock(cache, say):
            _build_missing(cache, missing, say)
    for program in programs:
        found.setdefault(program.name, _built(cache, program))
    return found


def stages_file(kwok: Path) -> Path:
    """KWOK's stages (how a node and a pod move on), of the same version as the program `kwok`."""
    return kwok.parent / "stages.yaml"


def _built(cache: Path, program: Program) -> Path:
    return cache / "programs" / program.folder_name / program.name


def _build_missing(cache: Path, missing: list[Program], say: Callable[[str], None]) -> None:
    go = None
    for program in missing:
        if _built(cache, program).exists():  # by the build that held the lock before
            continue
        go = go or find_go(cache, say)
        started = time.monotonic()
        say(f"build   {program.name} {program.version}: about {program.minutes} on two cores ...")
        _build(cache, go, program)
        say(f"build   {program.name} {program.version}: {time.monotonic() - started:.0f} s")
    shutil.rmtree(cache / "work", ignore_errors=True)


def _build(cache: Path, go: Path, program: Program) -> None:
    work = cache / "work" / program.module.replace("/", "-")
    work.mkdir(parents=True, exist_ok=True)
    environment = go_environment(cache)
    downloaded = json.loads(
        _run([str(go), "mod", "download", "-json", f"{program.module}@{program.version}"], work.parent, environment)
    )
    replacements = ""
    if program.name in KUBERNETES_PROGRAMS:
        # Kubernetes replaces these by folders of its own tree, which a module that requires it does not see.
        staged = re.findall(r"^\s(k8s\.io/\S+) v0\.0\.0$", Path(downloaded["GoMod"]).read_text(), re.MULTILINE)
        lines = "".join(f"\t{module} => {module} {STAGING_VERSION}\n" for module in staged)
        replacements = f"\nreplace (\n{lines})\n"
    module_file = work / "go.mod"
    if not module_file.exists():
        module_file.write_text(f"module rig\n\ngo 1.26.0\n\nrequire {program.module} {program.version}\n{replacements}")
    if program.main:
        (work / "main.go").write_text(program.main)
    target = _built(cache, program).parent
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    flags = " ".join(("-s", "-w", *program.linker_flags))
    _run(
        [
            str(go),
            "build",
            "-mod=mod",
            "-trimpath",
            "-ldflags",
            flags,
            "-o",
            str(temporary / program.name),
            program.package,
        ],
        work,
        environment,
    )
    if program.stages:
        source = Path(downloaded["Dir"]) / "kustomize" / "stage"
        (temporary / "stages.yaml").write_text("\n---\n".join((source / name).read_text() for name in program.stages))
    if target.exists():  # of a build that was stopped before the program was in it
        shutil.rmtree(target)
    temporary.rename(target)


def go_environment(cache: Path) -> dict[str, str]:
    """The environment of the Go commands: caches of our own, the toolchain that we chose, no C compiler."""
    return os.environ | {
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GOFLAGS": "-modcacherw -buildvcs=false",
        "GOMODCACHE": str(cache / "work" / "modules"),
        "GOCACHE": str(cache / "work" / "objects"),
    }


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        tail = "\n".join(result.stderr.strip().splitlines()[-15:])
        raise RigError(f"`{' '.join(command[:3])} ...` in {folder} ended with {result.returncode}:\n{tail}")
    return result.stdout


@contextmanager
def _lock(cache: Path, say: Callable[[str], None]) -> Iterator[None]:
    """One build at a time in one cache; the kernel frees the lock of a build that was killed."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "build.lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"build   another build works in {cache}; waiting for it")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _find_installed(cache: Path, say: Callable[[str], None], programs: tuple[Program, ...]) -> dict[str, Path]:
    """Programs of a good version in KUBEBUILDER_ASSETS, else on PATH, save a rig's own links into the cache."""
    assets = os.environ.get("KUBEBUILDER_ASSETS", "")
    found: dict[str, Path] = {}
    versions: dict[str, tuple[int, int]] = {}
    for program in programs:
        path = (assets and shutil.which(program.name, path=assets)) or shutil.which(program.name)
        if not path or program.only_built or Path(path).resolve().is_relative_to(cache):
            continue
        version = _version_of(path, program)
        if version and program.oldest <= version <= program.newest:
            found[program.name], versions[program.name] = Path(path).resolve(), version
        else:
            shown = ".".join(map(str, version)) if version else "no version that can be read"
            say(f"found   {path}: {shown}, not used; building {program.version}")
    trio = {versions.get(name) for name in KUBERNETES_PROGRAMS}
    if len(trio) > 1:  # a controller manager must not be newer than its API server
        partial = [name for name in KUBERNETES_PROGRAMS if found.pop(name, None)]
        say(
            f"found   {', '.join(partial)}: not all of {', '.join(KUBERNETES_PROGRAMS)} of one version; "
            "building all three"
        )
    for name, path in found.items():
        say(f"found   {name} {'.'.join(map(str, versions[name]))}: {path}")
    return found


def _version_of(path: str, program: Program) -> tuple[int, int] | None:
    try:
        result = subprocess.run(
            [path, *program.version_command], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"{path}: {error}", file=sys.stderr)
        return None
    match = re.search(r"\bv?(\d+)\.(\d+)\.\d+", result.stdout)
    return (int(match[1]), int(match[2])) if match else None
