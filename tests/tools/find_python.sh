#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Prints the path of the first of the given programs that is a Python 3.11 able to make virtual environments (not itself of
# one); installs Debian's when there is none and this is root.
set -u

works() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 11)); ' >/dev/null 2>&1
}

for candidate in "$@"; do
    if works "$candidate"; then
        "$candidate" -c 'import sys; print(sys._base_executable)'
        exit 0
    fi
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "setup: no Python 3.11 with venv found; installing Debian's python3.11-venv" >&2
    apt-get install -y -q python3.11-venv >&2 || { apt-get update -q >&2 && apt-get install -y -q python3.11-venv >&2; }
    if works /usr/bin/python3.11; then
        echo /usr/bin/python3.11
        exit 0
    fi
fi
echo "setup: no Python 3.11 that can make virtual environments (tried: $*); install python3.11 and python3.11-venv" >&2
echo false
exit 1
