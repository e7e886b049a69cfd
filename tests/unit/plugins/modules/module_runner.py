# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a module in this process and returns its result, as ansible-core would read it."""

from __future__ import annotations

import contextlib
import io
import json
from typing import Any
from unittest import mock

import pytest
from ansible.module_utils import _internal
from ansible.module_utils.testing import patch_module_args


def run_module(module: Any, options: dict[str, Any], *, check: bool = False, diff: bool = False) -> dict[str, Any]:
    """Return the JSON that the module printed; `failed` says how it ended."""
    arguments = {**options, "_ansible_check_mode": check, "_ansible_diff": diff}
    printed = io.StringIO()
    # A module's own process is no controller; this one may have become one by a test before.
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(_internal, "is_controller", False))
        stack.enter_context(patch_module_args(arguments))
        stack.enter_context(contextlib.redirect_stdout(printed))
        stack.enter_context(pytest.raises(SystemExit))
        module.main()
    return json.loads(printed.getvalue())
