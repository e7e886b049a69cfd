# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring this checkout to where every other target can run; does nothing when it is there already.

Run by the bare Python 3.11 that the Makefile found, so it uses the standard library only:
the environment `.venv` from the lock, the system programs of the rig, and `.deps` with kubernetes.core.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
ENVIRONMENT = REPOSITORY / ".venv"
LOCK = REPOSITORY / "requirements-dev.txt"
COLLECTION = REPOSITORY / ".deps" / "ansible_collections" / "kubernetes" / "core"

# Galaxy is not needed for the tests: the wheel of the community package holds the same collection.
ANSIBLE_PACKAGE = "ansible==12.3.0"
KUBERNETES_CORE_VERSION = "6.2.0"

# program -> Debian package; what each is for is said where it is missing.
SYSTEM_PROGRAMS = {
    "ip": ("iproute2", "the network namespaces of the rig's process nodes"),
    "unshare": ("util-linux", "the namespaces of the rig's process nodes"),
    "mount": ("mount", "the volumes of the rig's process nodes"),
    "shellcheck": ("shellcheck", "the lint of shell scripts"),
}


class SetupError(Exception):
    """Setup cannot go on; the text says what failed and what to do."""


def say(text: str) -> None:
    """One line of progress."""
    print(f"setup: {text}", flush=True)


def cache_directory() -> Path:
    """Where downloads are kept over checkouts: RIG_CACHE, else `multinode-inference` in the user's cache folder."""
    if given := os.environ.get("RIG_CACHE"):
        return Path(given).resolve()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return (Path(base) / "multinode-inference").resolve()


def run(*command: str | Path, what: str) -> None:
    """Run `command`; its output is shown only when it fails."""
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise SetupError(f"{what} failed (exit code {done.returncode}):\n{done.stdout}")


def ensure_environment() -> None:
    """`.venv` as the lock says; made anew when it was made by another Python or by a broken run."""
    wanted = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()
    stamp = ENVIRONMENT / "lock.sha256"
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    python = ENVIRONMENT / "bin" / "python"
    if not _is_python_311_with_pip(python):
        say(f"making the environment {ENVIRONMENT.name} with {sys.version.split()[0]}")
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        run(sys.executable, "-m", "venv", ENVIRONMENT, what="python -m venv")
    say(f"installing the packages of {LOCK.name} (about a minute)")
    run(python, "-m", "pip", "install", "--quiet", "--requirement", LOCK, what="pip install of the lock")
    stamp.write_text(wanted)


def _is_python_311_with_pip(python: Path) -> bool:
    program = "import sys, pip; sys.exit(sys.version_info[:2] != (3, 11))"
    try:
        return subprocess.run([str(python), "-c", program], capture_output=True).returncode == 0
    except OSError:
        return False


def ensure_system_programs() -> None:
    """What pip cannot give. Without root, what is missing is named and the checks that need it say so later."""
    missing = {name: given for name, given in SYSTEM_PROGRAMS.items() if not _on_path(name)}
    if not missing:
        return
    packages = sorted(package for package, _purpose in missing.values())
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        for name, (package, purpose) in missing.items():
            say(f"{name} is missing (Debian package {package}): {purpose} will not work")
        return
    say(f"installing {' '.join(packages)}")
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]
    for command in (install, ["apt-get", "update", "-q"], install):
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if command is install and done.returncode == 0:
            return
    raise SetupError(f"apt-get could not install {' '.join(packages)}:\n{done.stdout}")


def _on_path(program: str) -> bool:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is not None


def ensure_kubernetes_core() -> None:
    """`.deps` holds kubernetes.core."""
    if _version_of(COLLECTION) == KUBERNETES_CORE_VERSION:
        return
    kept = kubernetes_core(KUBERNETES_CORE_VERSION, ANSIBLE_PACKAGE, ENVIRONMENT / "bin" / "python")
    shutil.rmtree(COLLECTION, ignore_errors=True)
    shutil.copytree(kept, COLLECTION)
    say(f"kubernetes.core {KUBERNETES_CORE_VERSION} is in .deps")


def kubernetes_core(version: str, package: str, python: str | Path) -> Path:
    """The folder in the cache of a kubernetes.core, taken from the wheel once (the wheel unpacked would be 1.3 GB).

    `package` is the version of the community package that holds it, `python` one that this package supports.
    """
    kept = cache_directory() / "collections" / f"kubernetes.core-{version}"
    kept.parent.mkdir(parents=True, exist_ok=True)
    with open(kept.parent / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _version_of(kept) != version:
            _extract_collection(kept, version, package, python)
    return kept


def _extract_collection(target: Path, version: str, package: str, python: str | Path) -> None:
    say(f"taking kubernetes.core {version} out of the package {package} (52 MB)")
    inside = "ansible_collections/kubernetes/core/"
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--dest", folder]
        run(python, "-m", "pip", "download", *options, package, what=f"download of {package}")
        (wheel,) = Path(folder).glob("ansible-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder, [name for name in archive.namelist() if name.startswith(inside)])
        found = _version_of(Path(folder) / inside)
        if found != version:
            raise SetupError(f"{package} holds kubernetes.core {found}, expected {version}")
        shutil.rmtree(target, ignore_errors=True)
        (Path(folder) / inside).rename(target)


def _version_of(collection: Path) -> str | None:
    try:
        return json.loads((collection / "MANIFEST.json").read_text())["collection_info"]["version"]
    except FileNotFoundError:
        return None


def main() -> None:
    """Each step in turn; the second call takes a few milliseconds."""
    with open(REPOSITORY / "requirements-dev.in") as one_at_a_time:
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        ensure_environment()
        ensure_system_programs()
        ensure_kubernetes_core()


if __name__ == "__main__":
    try:
        main()
    except SetupError as error:
        sys.exit(f"setup: {error}")
