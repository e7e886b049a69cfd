# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How often this pod's container may end before its program stops trying, and what ended it first.

A restart is a container exit: the kubelet starts it again, and the GPUs' memory is free for sure. The record lies on an emptyDir, so
it outlives the container and ends with the pod. So does the mark of a try that is under way: a start that finds one knows that the
try before was killed from outside, and counts it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import threading
import time
from typing import Any

from group_file import STATE_FOLDER, Group, write_whole
from pod_progress import Board, Failure, leave_message, log

# Lines of a log kept with the first failure: what came later is often only its consequence.
EVIDENCE_LINES = 60
# What compilers keep there outlives the container; a kill may have broken it.
CACHES = STATE_FOLDER / "cache"
# So many tries without a token in between begin with empty caches.
DOUBTED = 2
# How often a program that has given up looks whether the source has changed.
LOOK_SECONDS = 5.0
# What differs between two failures of one cause: numbers, addresses, process IDs, object IDs, and which rank said it first.
_VARYING = re.compile(r"0x[0-9a-f]+|\b(?=[0-9a-f]*\d)[0-9a-f]{8,}\b|(?<!exit code )(?<!\d)\d+", re.IGNORECASE)
# The phases of which a second try costs a whole start of the engine. Staging goes on where the try before ended, and a group that did
# not form, or lost a pod, may do better with another pod.
_COSTLY = ("engine", "token")
KILLED = (
    "the container was killed from outside: out of memory, by its liveness probe, or with its node; "
    "`kubectl describe pod` and the node's events say which"
)


def doubt_caches(unserved: int) -> None:
    """Empty the caches of compilers where so many tries have failed that they may be what breaks them."""
    if unserved >= DOUBTED and CACHES.exists():
        log(f"{unserved} tries failed since the group served: {CACHES} is emptied")
        shutil.rmtree(CACHES, ignore_errors=True)


class Restarts:
    """The failures of this pod that count: those within the window, and all since the group last served, for tries may take longer
    than the window. Times are of the wall clock: a monotonic one does not outlive a node.
    """

    def __init__(self, group: Group) -> None:
        self._path = STATE_FOLDER / "failures.json"
        self._mark = STATE_FOLDER / "begun"
        self._served: float | None = None
        # Why failures cannot be counted.
        self._trouble = ""
        self._limit = group.restart_limit
        self._window = group.restart_window_seconds
        staging = group.staging
        self._secret_file = staging.token_file if staging.source == "hugging_face" else staging.url_file
        self._failures = self._read()

    @property
    def count(self) -> int:
        """How many failures count."""
        return len(self._failures)

    @property
    def spent(self) -> bool:
        """Say whether no further try is due: the limit is reached, or no try can succeed."""
        return self.count > self._limit or self._hopeless is not None

    @property
    def _hopeless(self) -> dict[str, Any] | None:
        """Return the failure that no further try can avoid: a lasting one, or one that came twice before the first token."""
        seen = set()
        for failure in self._failures:
            if failure["lasting"]:
                return failure
            if self._served is not None or (failure["phase"] not in _COSTLY and failure["cause"] != KILLED):
                continue
            cause = (failure["phase"], _VARYING.sub("#", failure["cause"]))
            if cause in seen:
                return failure
            seen.add(cause)
        return None

    @property
    def first(self) -> dict[str, Any] | None:
        """The first failure that counts: time, phase, cause, lasting, evidence."""
        return self._failures[0] if self._failures else None

    @property
    def unserved(self) -> int:
        """How many failures there were since the group last served."""
        return sum(failure["time"] > (self._served or 0.0) for failure in self._failures)

    def begin(self) -> None:
        """Note that a try begins. One that began before and did not end by its program's will is a failure. Failure where it cannot."""
        if self._mark.exists():
            killed = Failure("ray", KILLED)
            self.note(killed)
            log(f"the try before: {self.words(killed)}")
        try:
            self._mark.touch()
        except OSError as error:
            self._trouble = f"{self._mark} cannot be written ({error.strerror})"
            words = f"{self._trouble}: a pod that cannot count its failures does not try"
            raise Failure("ray", words, lasting=True) from None

    def end(self) -> None:
        """Note that the try ends as its program wills it, whatever the reason."""
        with contextlib.suppress(OSError):
            self._mark.unlink()

    def served(self) -> None:
        """Note that the group serves: failures before count no longer once they are older than the window."""
        self._failures = self._read()
        self._served = time.time()
        self._write()

    def note(self, failure: Failure) -> bool:
        """Record a failure before the container ends by it; False where it cannot be: the next start would count from nothing."""
        self._failures = self._failures if self._trouble else self._read()
        entry = {"time": time.time(), "phase": failure.phase, "cause": failure.cause, "lasting": failure.lasting}
        entry["remedy"], entry["source"] = failure.remedy, self._source()
        entry["evidence"] = [] if self._failures else list(failure.evidence[-EVIDENCE_LINES:])
        self._failures.append(entry)
        self._write()
        return not self._trouble

    def report(self, failure: Failure, board: Board) -> bool:
        """Record a failure, and say it on the board, in the termination message and in the log; False where it cannot be recorded."""
        recorded = self.note(failure)
        words = {"state": failure.state, "cause": failure.cause, "remedy": failure.remedy}
        board.tell(failure.phase, **words, failures=self.count, tries=self._limit)
        leave_message(board.entries()[failure.phase], failure.evidence)
        log(self.words(failure))
        return recorded

    def words(self, failure: Failure) -> str:
        """Return the line for the log when the container ends by `failure`."""
        rest = f"{self.count} of at most {self._limit + 1}"
        if hopeless := self._hopeless:
            rest = (
                "no restart fixes it"
                if hopeless["lasting"]
                else f"{rest}, and the same cause came before: no further try"
            )
        advice = f"; {failure.remedy}" if failure.remedy else ""
        return f"failure in phase {failure.phase} ({rest}): {failure.cause}{advice}"

    def verdict(self) -> str:
        """Return why no further try is made."""
        first, hopeless = self._failures[0], self._hopeless
        if self._trouble:
            cause = f"{(hopeless or first)['cause']}; no further try, since failures cannot be counted: {self._trouble}"
        elif hopeless is None:
            cause = f"given up after {self.count} failures; the first: {first['cause']}"
        elif hopeless["lasting"]:
            cause = hopeless["cause"]
        else:
            cause = f"given up after {self.count} failures, the same twice before the first token: {hopeless['cause']}"
        return f"{cause}. The nodes are still billed: fix it and deploy again, or undeploy"

    @property
    def remedy(self) -> str:
        """What to do about the failure of the verdict; empty where its cause says it."""
        return str((self._hopeless or self._failures[0]).get("remedy", ""))

    def wait_for_change(self, stop: threading.Event) -> bool:
        """Wait until the source's URL is another one, and start to count again; False where `stop` is set before."""
        while self._failures[-1]["source"] == self._source():
            if stop.wait(LOOK_SECONDS):
                return False
        log("the source has a new URL: trying again")
        self._failures = []
        self._path.unlink(missing_ok=True)
        return True

    def _source(self) -> str:
        """Return what tells one source URL, or token, from another, and is no secret."""
        try:
            return hashlib.sha256(self._secret_file.read_bytes()).hexdigest()
        except OSError:
            return ""

    def _read(self) -> list[dict[str, Any]]:
        try:
            document = json.loads(self._path.read_text())
            served, since = document.get("served"), time.time() - self._window
            found = [
                dict(entry)
                for entry in document["failures"]
                if float(entry["time"]) > (0.0 if served is None else min(served, since))
            ]
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return []
        self._served = served
        return found

    def _write(self) -> None:
        try:
            write_whole(self._path, json.dumps({"served": self._served, "failures": self._failures}, indent=1))
        except OSError as error:
            self._trouble = f"{self._path} cannot be written ({error.strerror or error})"
            log(self._trouble)
