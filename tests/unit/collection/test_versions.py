# SPDX-License-Identifier: GPL-3.0-or-later
"""The versions that are promised are those that tests run with, and stand in README.md."""

from __future__ import annotations

import re
import sys

import yaml

from ansible_collections.multinode.inference.plugins.module_utils.core.recipe.settings import SETTINGS
from ansible_collections.multinode.inference.plugins.module_utils.kube import operator
from rig.control_plane import build
from tests.tools.setup import KUBERNETES_CORE_VERSION, REPOSITORY
from tests.versions import NEWEST, NEWEST_KUBERNETES_CORE, OLDEST

TABLE = {
    name: (oldest, middle, newest.partition(" ")[0])
    for name, oldest, middle, newest in re.findall(
        r"^\| (.+?) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+.*?) \|$", (REPOSITORY / "README.md").read_text(), re.MULTILINE
    )
}


def minor(version: str) -> str:
    return ".".join(version.removeprefix("v").split(".")[:2])


def load(name: str) -> dict:
    return yaml.safe_load((REPOSITORY / name).read_text())


def test_ansible_core_and_python() -> None:
    locked = re.search(r"^ansible-core==(.+)$", (REPOSITORY / "requirements-dev.txt").read_text(), re.MULTILINE)
    assert locked
    assert TABLE["ansible-core"] == (OLDEST.core, minor(locked[1]), NEWEST.core)
    assert load("meta/runtime.yml")["requires_ansible"] == f">={OLDEST.core}.0"
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert TABLE["Python on the controller"] == (OLDEST.pythons[0], ours, NEWEST.pythons[0])


def test_kubernetes_core() -> None:
    newest = minor(NEWEST_KUBERNETES_CORE[0])
    assert TABLE["kubernetes.core"] == (minor(KUBERNETES_CORE_VERSION), minor(KUBERNETES_CORE_VERSION), newest)
    wanted = f">={minor(KUBERNETES_CORE_VERSION)}.0,<{int(newest.partition('.')[0]) + 1}.0.0"
    assert load("galaxy.yml")["dependencies"]["kubernetes.core"] == wanted
    assert load("collections/requirements.yml")["collections"] == [{"name": "kubernetes.core", "version": wanted}]


def test_helm() -> None:
    (helm,) = (program for program in build.PROGRAMS if program.name == "helm")
    assert TABLE["Helm"] == (".".join(map(str, helm.oldest)), minor(helm.version), minor(build.HELM_4.version))


def test_kuberay() -> None:
    (version,) = (setting.default for setting in SETTINGS if setting.name == "kuberay_chart_version")
    assert TABLE["KubeRay"] == (".".join(map(str, operator.OLDEST)), version, version)


def test_the_oldest_libraries_are_those_of_the_requirements() -> None:
    asked = dict(re.findall(r"^([\w-]+)>=([\d.]+)", (REPOSITORY / "requirements.txt").read_text(), re.MULTILINE))
    for package in OLDEST.packages:
        name, _equals, version = package.partition("==")
        assert version.startswith(asked[name].removesuffix(".0")), package
