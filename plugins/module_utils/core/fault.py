# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What was found wrong, said so that the reader can put it right.

A fault is data: the same object serves as an error, when the plan is refused, and as a warning, when it is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from .text import plain


@dataclass(frozen=True)
class Fault:
    """One thing found wrong.

    code      short stable identifier, snake case (`heads_not_divisible`): what tests and programs compare
    where     the place a reader looks at: a recipe key, a file, an object
    found     what stands there
    expected  what should stand there; empty where there is nothing to expect
    remedy    what to do next; empty where nothing needs to be done
    """

    code: str
    where: str
    found: str
    expected: str = ""
    remedy: str = ""

    def line(self) -> str:
        """The fault as one line: `where: found, expected ...; remedy`."""
        text = f"{self.where}: {self.found}" if self.where else self.found
        if self.expected:
            text += f", expected {self.expected}"
        if self.remedy:
            text += f"; {self.remedy}"
        # What was found may be anybody's words: a service's, a file's.
        return plain(text)

    def as_dict(self) -> dict[str, Any]:
        """The fault as the plan, the result file and the modules carry it."""
        return asdict(self)


@dataclass(frozen=True)
class CloudFault(Fault):
    """A fault that the cloud reported; what Oracle's support asks for is carried beside it."""

    service: str = ""
    status: int | None = None
    request_id: str = ""
    work_request: str = ""

    def line(self) -> str:
        """The fault as one line, with the request id where there is one."""
        text = super().line()
        return f"{text} (opc-request-id {self.request_id})" if self.request_id else text


def fault_of(entry: Mapping[str, Any]) -> Fault:
    """Return the fault that a module gave as data, with what the cloud said beside it."""
    kind = CloudFault if entry.get("service") else Fault
    return kind(**{field.name: entry[field.name] for field in fields(kind) if field.name in entry})


class Refused(Exception):
    """What was asked for cannot be planned. Carries every fault that was found, not only the first."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults: list[Fault] = list(faults)
        super().__init__("\n".join(fault.line() for fault in self.faults))


class Findings:
    """What one piece of work finds, gathered in one place: faults forbid what was asked for, warnings do not."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.warnings: list[Fault] = []

    def fault(self, code: str, where: str, found: str, expected: str = "", remedy: str = "") -> None:
        """Add a fault; the arguments are those of Fault."""
        self.faults.append(Fault(code, where, found, expected, remedy))

    def warn(self, code: str, where: str, found: str, expected: str = "", remedy: str = "") -> None:
        """Add a warning; the arguments are those of Fault."""
        self.warnings.append(Fault(code, where, found, expected, remedy))

    def add(self, other: Findings) -> None:
        """Take over what another piece of work found."""
        self.faults += other.faults
        self.warnings += other.warnings

    def refuse(self) -> None:
        """Raise Refused with every fault, where there is one."""
        if self.faults:
            raise Refused(self.faults)


def unexpected(error: BaseException, where: str, doing: str = "") -> Fault:
    """Return the fault of an error that nothing was written for: its kind and its place, since its words may hold a secret."""
    trace, place = error.__traceback__, ""
    while trace is not None:
        place = f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"
        trace = trace.tb_next
    found = f"{doing}: " if doing else ""
    return Fault(
        "unexpected",
        where,
        f"{found}{type(error).__name__} at {place}",
        "",
        "running again is safe; if it comes back, report it with this line and the versions of the collection and of Ansible",
    )
