# SPDX-License-Identifier: GPL-3.0-or-later
"""The chart that the product's kuberay role installs on the rig: `$RIG_DIR/charts/kuberay-operator`.

RIG_KUBERAY_OPERATOR (a program), RIG_KUBERAY_CRDS (a folder of definitions) and RIG_KUBERAY_CHART (a chart's folder)
put KubeRay's own parts in the place of the stand-ins; the first and last work together.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
from pathlib import Path
from typing import Any

import yaml
from kubernetes import config

from rig.configuration import Rig, RigError, write_whole
from rig.kuberay import crd

NAME = "kuberay-operator"
CORE_SCHEMAS = "/openapi/v3/api/v1"
OWN_CHART = Path(__file__).parent / NAME


def write_chart(rig: Rig) -> Path:
    """Write the chart anew and return its folder; the rig's API server must be up (the CRD is made of its schemas)."""
    target = rig.charts / NAME
    shutil.rmtree(target, ignore_errors=True)
    given = os.environ.get("RIG_KUBERAY_CHART")
    source = Path(given) if given else OWN_CHART
    if not (source / "Chart.yaml").is_file():
        raise RigError(f"RIG_KUBERAY_CHART: no Chart.yaml in {source}; name the folder of an unpacked chart")
    shutil.copytree(source, target)
    if given:
        _use_host_network(target)
    if definitions := os.environ.get("RIG_KUBERAY_CRDS"):
        _copy_definitions(Path(definitions), target / "crds")
    elif not given:
        definition = crd.ray_cluster_definition(_schemas(rig))
        write_whole(target / "crds" / "ray.io_rayclusters.yaml", json.dumps(definition) + "\n")
    _write_values(rig, target)
    return target


def _schemas(rig: Rig) -> dict[str, Any]:
    """The schemas of the API server's core group."""
    with config.new_client_from_config(config_file=str(rig.kubernetes.kubeconfig)) as api:
        request = api.param_serialize(method="GET", resource_path=CORE_SCHEMAS, auth_settings=["BearerToken"])
        answer = json.loads(api.call_api(*request).read())
    return answer["components"]["schemas"]


def _copy_definitions(source: Path, target: Path) -> None:
    files = sorted(source.glob("*.yaml"))
    if not files:
        raise RigError(f"RIG_KUBERAY_CRDS: no *.yaml in {source}; name the folder that holds ray.io_rayclusters.yaml")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for file in files:
        shutil.copy(file, target)


def _write_values(rig: Rig, chart: Path) -> None:
    """Put this rig's port and cluster domain, and the program to run, into the chart's default values."""
    path = chart / "values.yaml"
    values = yaml.safe_load(path.read_text())
    values["service"]["port"] = _free_port()
    environment = {"CLUSTER_DOMAIN": rig.cluster_domain}
    if operator := os.environ.get("RIG_KUBERAY_OPERATOR"):
        if not os.access(operator, os.X_OK):
            raise RigError(f"RIG_KUBERAY_OPERATOR: {operator} is no executable file; name KubeRay's manager binary")
        environment["RIG_KUBERAY_OPERATOR"] = str(Path(operator).resolve())
    values["env"] = (values.get("env") or []) + [{"name": k, "value": v} for k, v in environment.items()]
    if "operatorCommand" in values:
        # On process nodes an image is a folder on PATH, there is no /manager.
        values["operatorCommand"] = NAME
    write_whole(path, yaml.safe_dump(values, sort_keys=False))


def _use_host_network(chart: Path) -> None:
    """The real chart has no value for the host's network, which the operator needs here to reach the API server."""
    path = chart / "templates" / "deployment.yaml"
    text = path.read_text()
    marker = "      serviceAccountName:"
    if text.count(marker) != 1:
        raise RigError(
            f"{path}: expected one line that begins with {marker!r}; this chart is not one that the rig knows"
        )
    write_whole(path, text.replace(marker, "      hostNetwork: true\n" + marker))


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def main() -> None:
    """Write the chart of a rig that is up already."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rig", required=True, metavar="FOLDER")
    print(write_chart(Rig.load(parser.parse_args().rig)))


if __name__ == "__main__":
    main()
