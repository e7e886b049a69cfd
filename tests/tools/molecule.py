# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the molecule scenario against the rig, which must be up: `python -m tests.tools.molecule`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from rig import samples
from rig.configuration import REPOSITORY, Rig, rig_directory
from tests.tools.environments import program


def main() -> int:
    """An account of its own with the sample's model in it, then `molecule test`."""
    directory = rig_directory()
    rig = Rig.load(directory)
    request = urllib.request.Request(f"{rig.oci.control}/tenancies", data=b"{}", method="POST")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=30) as answer:
        tenancy = json.loads(answer.read())
    samples.put_model(tenancy, rig)
    recipe = samples.recipe(samples.make_par(tenancy, rig), deployment_name="molecule")

    with tempfile.TemporaryDirectory() as folder:
        variables = Path(folder) / "variables.json"
        result = Path(folder) / "result.json"
        variables.write_text(json.dumps({**tenancy["settings"], **recipe, "result_file": str(result)}))
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": f"{REPOSITORY / 'playbooks' / 'collections'}:{REPOSITORY / '.deps'}",
            "KUBECONFIG": str(rig.kubernetes.kubeconfig),
            "PATH": f"{directory / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "MOLECULE_VARIABLES": str(variables),
            "MOLECULE_RESULT": str(result),
            "NO_COLOR": "1",
        }
        command = [program("molecule"), "test", "--scenario-name", "default"]
        return subprocess.run(command, cwd=REPOSITORY, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
