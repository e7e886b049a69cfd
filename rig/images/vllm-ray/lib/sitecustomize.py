# SPDX-License-Identifier: GPL-3.0-or-later
"""Python's version as the image has it (RIG_PYTHON_VERSION), for those who ask `platform`: the rig's own may be another."""

import os
import platform

if played := os.environ.get("RIG_PYTHON_VERSION"):
    platform.python_version_tuple = lambda: tuple(played.split("."))
