# SPDX-License-Identifier: GPL-3.0-or-later
"""`make demo`: the sample recipe on the rig, all the way to a completion; then the same again, and nothing changes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from rig import access, samples
from rig.configuration import REPOSITORY, Rig, rig_directory

_parts: list[tuple[str, float]] = []


def main() -> int:
    directory = rig_directory()
    _timed("rig", [sys.executable, "-m", "rig", "up"], dict(os.environ))
    rig = Rig.load(directory)
    recipe = directory / "rig_two_nodes.json"
    started = time.monotonic()
    _say("The tiny Llama goes into the rig's Object Storage; the sample recipe gets a real PAR for it.")
    tenancy = access.steer(rig.oci.control, "GET", "/tenancies")[0]
    if not recipe.exists():
        samples.put_model(tenancy, rig)
        recipe.write_text(json.dumps(samples.recipe(samples.make_par(tenancy, rig)), indent=2), encoding="utf-8")
    _parts.append(("model and PAR", time.monotonic() - started))

    result = directory / "result.json"
    command = ["ansible-playbook", "playbooks/deploy.yml", "-e", f"@{recipe}", "-e", f"@{directory / 'settings.yml'}"]
    command += ["-e", f"result_file={result}"]
    environment = access.environment(directory)
    _timed("deploy", command, environment)
    deployed = json.loads(result.read_text(encoding="utf-8"))

    _say("A completion through the printed endpoint, with the key from its Secret:")
    _timed("completion", ["bash", "-c", f"{deployed['curl']} --silent --show-error --fail"], environment)
    print()
    _timed("deploy again", command, environment)
    again = json.loads(result.read_text(encoding="utf-8"))

    _say("How long each part took:")
    for name, seconds in _parts:
        print(f"  {name:<14} {seconds:6.1f} s")
    for entry in deployed["timeline"]:
        print(f"    {entry['phase']:<12} {entry['seconds']:6.1f} s")
    if again["changed"]:
        print("The second deploy changed something; it should not have.", file=sys.stderr)
        return 1
    print("\nchanged=0: the second run changed nothing.")
    shown = Path(os.path.relpath(directory, REPOSITORY))
    print(
        f"The deployment is still up: `source {shown}/env` to look at it with kubectl, `make rig-down` to end it all."
    )
    return 0


def _timed(name: str, command: list[str], environment: dict[str, str]) -> None:
    _say("$ " + " ".join(command) if name != "completion" else "$ " + command[-1])
    started = time.monotonic()
    ended = subprocess.run(command, cwd=REPOSITORY, env=environment, check=False)
    _parts.append((name, time.monotonic() - started))
    if ended.returncode:
        sys.exit(ended.returncode)


def _say(text: str) -> None:
    print(f"\n{text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
