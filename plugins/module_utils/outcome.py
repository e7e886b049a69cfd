# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a module ends: with its result and times, or with faults. Nothing else leaves it, no traceback either."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from .clock import moment
from .core.fault import Refused, unexpected


def run(module: AnsibleModule, body: Callable[[AnsibleModule], dict[str, Any]]) -> None:
    """Run `body` and end the module with its result and times, or with the faults it was refused for."""
    started = moment()
    try:
        result = body(module)
    except Refused as refused:
        fail(module, refused)
    except Exception as error:
        fail(module, Refused([unexpected(error, "module")]))
    module.exit_json(**result, started=started, ended=moment())


def fail(module: AnsibleModule, refused: Refused, **result: Any) -> None:
    """End the module with a line for each fault, and the faults as data."""
    module.fail_json(
        msg="\n".join(fault.line() for fault in refused.faults),
        faults=[fault.as_dict() for fault in refused.faults],
        **result,
    )
