# SPDX-License-Identifier: GPL-3.0-or-later
"""No secret shows: on the screen at -vvv with diffs, in results, objects, events, logs, command lines, files that a SIGKILL leaves,
the bundle for support, and what ansible-runner keeps."""

from __future__ import annotations

import base64
import configparser
import json
import os
import shlex
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ansible_runner
import pytest
from cryptography.hazmat.primitives import serialization

from rig import samples
from rig.fixtures import RunningRig, Tenancy
from tests.e2e.cluster_user import administrator
from tests.e2e.playbooks import Playbooks, Run

NAME = "canaries"
LOUD = ("-vvv", "--diff")
HF_TOKEN = "hf_canary0123456789"
PASS_PHRASE = "canary-pass-phrase"


class Secrets(dict[str, str]):
    """What must show nowhere, by its name."""

    def shown_in(self, text: str, where: str) -> list[str]:
        return [f"{name} in {where}" for name, secret in self.items() if secret in text]


def encrypted_key(tenancy: Tenancy, folder: Path) -> tuple[str, Secrets]:
    """An OCI configuration like the tenancy's whose key has a pass phrase; its path, and both secrets."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(tenancy.settings["config_file_location"])
    profile = parser["DEFAULT" if not parser.sections() else parser.sections()[0]]
    key = serialization.load_pem_private_key(Path(profile["key_file"]).read_bytes(), None)
    encryption = serialization.BestAvailableEncryption(PASS_PHRASE.encode())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    (folder / "key.pem").write_bytes(pem)
    lines = {**profile, "key_file": str(folder / "key.pem"), "pass_phrase": PASS_PHRASE}
    path = folder / "oci-config"
    path.write_text("[DEFAULT]\n" + "".join(f"{name}={value}\n" for name, value in lines.items()), encoding="utf-8")
    return str(path), Secrets({"OCI key": pem.decode().splitlines()[2], "pass phrase": PASS_PHRASE})


@contextmanager
def watched(secrets: Secrets, found: list[str], own: dict[str, str]) -> Iterator[None]:
    """Look at command lines and environments of all processes while the block runs; `own`: what was given as environment."""
    ended = threading.Event()
    given = {value for name, value in own.items() if name == "HF_TOKEN"}

    def look() -> None:
        while not ended.wait(0.05):
            for process in Path("/proc").glob("[0-9]*"):
                for name in ("cmdline", "environ"):
                    try:
                        text = (process / name).read_bytes().decode(errors="replace")
                    except OSError:
                        continue
                    for value in given:
                        text = text.replace(f"HF_TOKEN={value}", "")
                    # The pods' own environment is theirs; what their containers are given is looked at as objects.
                    if name == "environ" and "KUBERNETES_SERVICE_HOST=" in text:
                        continue
                    found.extend(secrets.shown_in(text, f"{name} of a process"))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def in_files(secrets: Secrets, folder: Path) -> list[str]:
    found = []
    for path in folder.rglob("*"):
        if path.is_file():
            text = path.read_bytes().decode(errors="replace")
            found += secrets.shown_in(text, str(path))
            found += Secrets({k: base64.b64encode(v.encode()).decode()[:-4] for k, v in secrets.items()}).shown_in(
                text, str(path)
            )
    return found


def in_bundle(secrets: Secrets, path: Path) -> list[str]:
    found = []
    with tarfile.open(path) as bundle:
        for member in bundle:
            if content := bundle.extractfile(member):
                found += secrets.shown_in(content.read().decode(errors="replace"), f"bundle: {member.name}")
    return found


def by_ansible_runner(playbooks: Playbooks, recipe: dict[str, Any], folder: Path) -> str:
    """Deploy as AWX does; its output and events, as ansible-runner keeps them below `folder`."""
    folder.mkdir()
    command = playbooks.command("deploy", recipe, options=LOUD)
    ended = ansible_runner.run(
        private_data_dir=str(folder),
        project_dir=str(playbooks.tree),
        playbook="playbooks/deploy.yml",
        cmdline=shlex.join(command[2:]),
        envvars={**playbooks.environment, "ANSIBLE_CONFIG": str(playbooks.tree / "ansible.cfg")},
        quiet=True,
    )
    assert ended.status == "successful", ended.stdout.read()
    events = "".join(json.dumps(event) for event in ended.events)
    return ended.stdout.read() + events


@pytest.mark.soak
def test_no_secret_shows_anywhere(tmp_path: Path, rig: RunningRig, tenancy: Tenancy) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    config, secrets = encrypted_key(tenancy, tmp_path)
    samples.put_model(tenancy.json, rig.configuration)
    par = samples.make_par(tenancy.json, rig.configuration)
    recipe = samples.light_recipe(par + "\n", deployment_name=NAME)
    secrets.update({"PAR": par.split("/p/")[1].split("/")[0], "HF token": HF_TOKEN})
    environment = {
        **rig.environment(),
        "HF_TOKEN": f"{HF_TOKEN}\n",
        "TMPDIR": str(temporary),
        "ANSIBLE_LOCAL_TEMP": str(temporary / "local"),
        "ANSIBLE_REMOTE_TEMP": str(temporary / "remote"),
    }
    bundle = tmp_path / "bundle.tar.gz"
    # By its place. Looked through at the end, when keys that a run made are known too.
    texts: list[tuple[str, str]] = []
    found: list[str] = []
    with administrator(rig, f"{NAME}-user") as user:
        secrets["kubeconfig token"] = user.token
        settings = {
            **tenancy.settings,
            "config_file_location": config,
            "config_profile_name": "DEFAULT",
            "kubeconfig": user.kubeconfig(tmp_path),
            "html_file": str(tmp_path / "page.html"),
        }
        playbooks = Playbooks(tmp_path, environment, settings)

        def run(playbook: str, *options: str, good: bool = True, **given: Any) -> Run:
            with watched(secrets, found, environment):
                ended = playbooks.run(playbook, {**recipe, **given}, options=(*LOUD, *options))
            assert (ended.code == 0) == good, ended.output
            texts.append((f"output of {playbook}", ended.output))
            texts.append((f"result of {playbook}", json.dumps(ended.result)))
            return ended

        def learn(kind: str) -> None:
            answer = rig.kubectl("get", "secret", f"{NAME}-{kind}", "--namespace", NAME, "--output", "json")
            # Entries that begin with a dot are no keys: the head's log has the revision that it knows.
            for name, value in json.loads(answer)["data"].items():
                if name.startswith("."):
                    continue
                secrets[f"{kind} {name}"] = base64.b64decode(value).decode().strip()

        try:
            run("plan")
            run("deploy", "--check")
            playbooks.kill_when("TASK [multinode.inference.endpoint", "deploy", recipe)
            time.sleep(2)
            run("deploy")
            learn("api-key")
            learn("ray-token")
            run("deploy")
            run("status")
            run("logs", logs_component="head", logs_lines=2000)
            run("keys", keys_action="add", key_name="second")
            learn("api-key")
            run("keys", keys_action="rotate", key_name="second")
            secrets["api-key second, before"] = secrets["api-key second"]
            learn("api-key")
            run("keys", keys_action="list")
            value = base64.b64encode(f"{secrets['api-key default']}\n".encode()).decode()
            patch = json.dumps({"data": {"default": value}})
            rig.kubectl("patch", "secret", f"{NAME}-api-key", "--namespace", NAME, "--patch", patch)
            run("deploy")
            texts.append(("events of ansible-runner", by_ansible_runner(playbooks, recipe, tmp_path / "runner")))
            broken = tmp_path / "broken.kubeconfig"
            text = json.loads(Path(settings["kubeconfig"]).read_text(encoding="utf-8"))
            text["users"][0]["user"]["token"] += "\n"
            broken.write_text(json.dumps(text), encoding="utf-8")
            for playbook in ("plan", "deploy", "status", "undeploy"):
                run(playbook, good=False, kubeconfig=str(broken))
            # A deploy that fails with a group that stands: the bundle has its objects and logs.
            run("deploy", good=False, failure_bundle=str(bundle), recipe_nvidia_gpu_count=3)
            kinds = "pods,configmaps,events,services,rayclusters"
            texts.append(("objects", rig.kubectl("get", kinds, "--namespace", NAME, "--output", "json")))
            for pod in rig.kubectl("get", "pods", "--namespace", NAME, "--output", "name").split():
                texts.append((f"log of {pod}", rig.kubectl("logs", "--namespace", NAME, pod)))
            run("undeploy", "--check")
        finally:
            run("undeploy")
    for where, text in texts:
        found += secrets.shown_in(text, where)
    found += in_bundle(secrets, bundle)
    found += in_files(secrets, temporary)
    found += secrets.shown_in((tmp_path / "page.html").read_text(encoding="utf-8"), "page")
    assert sorted(set(found)) == []
    assert (os.stat(tmp_path / "result.json").st_mode & 0o777) == 0o600
