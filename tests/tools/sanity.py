# SPDX-License-Identifier: GPL-3.0-or-later
"""`ansible-test sanity`, all tests and no ignore file, on the collection as built and installed.

ansible-test makes small environments of its own, with the pip that it pins. It would fetch that pip as a script from outside
the package index and keep everything below the user's home; here a script that does the same from pip's own wheel lies where
the download would go, and a home in the cache is used.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.tools.environments import program
from tests.tools.setup import cache_directory

# The pip that ansible-core 2.19 pins (ansible_test/_internal/python_requirements.py, get_venv_packages).
PIP_VERSION = "24.2"

GET_PIP = """
import sys
sys.path.insert(0, {wheel!r})
from pip._internal.cli.main import main
# get-pip's own options, unknown to pip
words = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
sys.exit(main(["install", "--quiet", "--no-index", {wheel!r}, *[word for word in words if not word.startswith("pip==")]]))
"""


def prepare_home() -> Path:
    """The home of ansible-test in the cache, with the script that gives it pip."""
    home = cache_directory() / "ansible-test"
    script = home / ".ansible" / "test" / "cache" / f"get_pip_{PIP_VERSION.replace('.', '_')}.py"
    wheel = home / f"pip-{PIP_VERSION}-py3-none-any.whl"
    script.parent.mkdir(parents=True, exist_ok=True)
    if not wheel.exists():
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(home)]
        subprocess.run([*pip, f"pip=={PIP_VERSION}"], check=True)
    script.write_text(GET_PIP.format(wheel=str(wheel)))
    return home


def main(collection: Path) -> int:
    """Run the sanity tests in `collection`, a folder .../ansible_collections/multinode/inference."""
    user_pip_configuration = Path.home() / ".config" / "pip" / "pip.conf"
    environment = dict(os.environ, HOME=str(prepare_home()))
    if user_pip_configuration.exists():
        environment.setdefault("PIP_CONFIG_FILE", str(user_pip_configuration))
    # Without --python it takes every pythonX.Y on PATH, and a pyenv shim that does not run ends it.
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    command = [program("ansible-test"), "sanity", "--python", python, "--color", "no"]
    return subprocess.run(command, cwd=collection, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
