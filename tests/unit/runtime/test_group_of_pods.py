# SPDX-License-Identifier: GPL-3.0-or-later
"""Head and workers together, with stand-ins for Ray and vLLM: formed, served, lost, formed again."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pause import PAUSE_SECONDS

from tests.unit.runtime.pods import MakeGroup, Pod, PodGroup, shards_of, until
from tests.unit.runtime.source_server import SECRET, Fault, SourceServer

pytestmark = pytest.mark.processes

Document = dict[str, Any]


def test_a_group_serves_is_restarted_after_any_end_and_reads_no_file_again(
    make_group: MakeGroup, source: SourceServer
) -> None:
    group = make_group([0, 1])
    assert group.head.probe()[0] == 1
    group.start()
    group.served()
    assert group.head.progress("token")["text"] == " world"
    assert group.head.progress("ray")["done"] == 6
    for pod in group.pods:
        assert shards_of(pod) == group.shards[pod.number]
        assert pod.progress("staging")["state"] == "done"
    for pod in group.workers:
        # A worker learns the order of stages by asking the head, a moment after the head knows it.
        until(lambda pod=pod: pod.probe()[0] == 0, 10, f"worker {pod.number} ready")
        assert pod.probe() == (0, f"staged and in Ray as stage {pod.number}")
    assert json.loads((group.folder / "arguments").read_text())[:1] == ["serve"]
    requests = len(source.requests)

    group.behave(exit=0)
    assert group.head.wait(5) == 1
    began = time.monotonic()
    message = group.head.message()
    assert (message["phase"], message["state"]) == ("engine", "ended")
    assert message["cause"].startswith("the engine ended with exit code 0")
    assert [pod.wait(10) for pod in group.workers] == [1, 1]
    assert time.monotonic() - began < 10
    group.start()
    group.served()
    assert len(source.requests) == requests
    assert len((group.folder / "completions").read_text().splitlines()) == 2


def test_ready_comes_with_a_token_not_with_health(make_group: MakeGroup) -> None:
    group = make_group([])
    group.behave(completion=500)
    group.start()
    until(lambda: group.head.progress("engine").get("state") == "done", 20, "loaded")
    code, said = group.head.probe()
    assert code == 1 and "answered with 500" in said
    until(lambda: "500" in str(group.head.progress("token").get("cause")), 5, "told in the log")
    group.behave()
    group.served()


def test_a_worker_that_starts_again_ends_the_engine(make_group: MakeGroup) -> None:
    group = make_group([0])
    group.start()
    group.served()
    worker = group.workers[0]
    worker.kill()
    worker.start()
    assert group.head.wait(10) == 1
    assert "stage 1" in group.head.message()["cause"]
    group.head.start()
    group.served()
    assert not worker.ended()


def test_a_lost_raylet_ends_its_pod(make_group: MakeGroup) -> None:
    group = make_group([0])
    group.start()
    group.served()
    group.workers[0].kill_raylet()
    assert group.workers[0].wait(5) == 1
    assert group.workers[0].message()["cause"] == "Ray's raylet ended by signal 9"
    assert group.head.wait(10) == 1


def test_a_ray_that_does_not_start_is_told(make_group: MakeGroup) -> None:
    group = make_group([])
    (group.folder / "broken").touch()
    group.start()
    assert group.head.wait(10) == 1
    assert group.head.message()["cause"] == "`ray start` ended with exit code 1: see its lines in the log"
    assert group.head.message()["state"] == "ended"


def test_a_head_that_starts_again_ends_the_workers(make_group: MakeGroup) -> None:
    group = make_group([0])
    group.start()
    group.served()
    group.head.kill()
    group.head.start()
    assert group.workers[0].wait(10) == 1
    assert "rank 0 is gone" in group.workers[0].message()["cause"]


def test_workers_without_labels_take_the_stages_that_formed(make_group: MakeGroup) -> None:
    group = make_group([None, None])
    group.start()
    group.served()
    assert {frozenset(shards_of(pod)) for pod in group.workers} == {frozenset(names) for names in group.shards[1:]}


def test_swapped_labels_are_followed(make_group: MakeGroup) -> None:
    group = make_group([1, 0])
    group.start()
    group.served()
    assert [shards_of(pod) for pod in group.workers] == [group.shards[2], group.shards[1]]


def test_pods_made_while_their_forerunners_terminate_keep_their_order(make_group: MakeGroup) -> None:
    group = make_group([2, 3])
    group.start()
    group.served()
    assert [shards_of(pod) for pod in group.workers] == [group.shards[1], group.shards[2]]


def test_a_missing_worker_is_waited_for_and_named(make_group: MakeGroup) -> None:
    group = make_group([0, 1])
    group.head.start()
    group.workers[0].start()
    until(lambda: group.head.progress("ray").get("step") == "2 of 3 nodes have joined Ray", 15, "named")
    assert not (group.folder / "arguments").exists()
    group.workers[1].start()
    group.served()


def test_tries_are_counted_and_end_with_the_first_cause(make_group: MakeGroup) -> None:
    group = make_group([0], restart={"limit": 1, "window_minutes": 60})
    group.start()
    for cause in ("ValueError: first", "ValueError: second"):
        group.served()
        group.behave(exit=1, say=[cause])
        group.head.wait(10)
        group.workers[0].wait(10)
        group.start()
    until(lambda: group.head.progress("engine").get("state") == "failed", 10, "given up")
    said = group.head.progress("engine")["cause"]
    assert "given up after 2 failures; the first:" in said and "ValueError: first" in said and "still billed" in said
    assert group.head.probe() == (1, "the head's state is given_up")
    until(lambda: "has given up" in str(group.workers[0].progress("ray").get("step")), 10, "told by the worker")
    assert not list(group.folder.glob("*.node")) or len((group.folder / "completions").read_text().splitlines()) == 2
    group.head.terminate()
    assert group.head.wait(5) == 0


def test_a_refused_par_ends_with_its_cause_and_a_new_one_is_taken(
    make_group: MakeGroup, source: SourceServer, tmp_path: Path
) -> None:
    source.fault = lambda number, name, start: Fault(status=404)
    group = make_group([])
    group.start()
    assert group.head.wait(10) == 1
    message = group.head.message()
    assert message["state"] == "failed" and "PAR invalid, expired or out of scope" in message["cause"]
    group.start()
    until(lambda: "still billed" in str(group.head.progress("staging").get("cause")), 5, "given up")
    source.fault = lambda number, name, start: None
    (tmp_path / "par").write_text(source.url + "?new")
    group.served()
    assert SECRET not in group.head.log()


def test_a_head_that_waits_for_vllms_answer_says_so(make_group: MakeGroup) -> None:
    group = make_group([])
    group.head.replace("engine_answer.py", "Question.ask", "__import__('time').sleep(4)")
    group.start()
    step = "vLLM is asked whether it would start"
    until(lambda: group.head.progress("ray").get("step") == step, 30, group.head.log()[-2000:])
    group.served()


def test_a_known_cause_comes_with_its_remedy(make_group: MakeGroup) -> None:
    group = make_group([])
    group.behave(
        loading=60, exit=1, say=["(EngineCore) ValueError: No available memory for the cache blocks. Try increasing"]
    )
    group.start()
    group.head.wait(10)
    assert "no GPU memory is left for the KV cache (ValueError: No available memory" in group.head.message()["cause"]
    assert "reduce --max-model-len" in group.head.message()["remedy"]
    assert group.head.message()["state"] == "failed"


def test_what_was_amiss_before_it_served_is_not_why_it_ended(make_group: MakeGroup) -> None:
    group = make_group([])
    group.behave(warn=["(EngineCore) ValueError: No available memory for the cache blocks. Try increasing"])
    group.start()
    group.served()
    group.behave(exit=3)
    assert group.head.wait(10) == 1
    message = group.head.message()
    assert (message["cause"], message["state"]) == ("the engine ended with exit code 3", "ended")


def test_an_engine_that_hangs_is_ended_and_an_idle_one_is_not(make_group: MakeGroup) -> None:
    group = make_group([])
    group.head.environment["MULTINODE_HANG_SECONDS"] = "2"
    metrics = "vllm:num_requests_running{{}} {}\nvllm:iteration_tokens_total_count{{}} 7\n"
    (group.folder / "metrics").write_text(metrics.format(0))
    group.start()
    group.served()
    time.sleep(4)
    assert not group.head.ended()
    (group.folder / "metrics").write_text(metrics.format(3))
    assert group.head.wait(15) == 1
    assert group.head.message()["cause"].startswith("the engine hangs: for")
    assert "3 requests are running and it makes no step" in group.head.message()["cause"]


def probing(group: PodGroup) -> Callable[[], bool]:
    """Run the readiness probe as the kubelet does until the head has ended; whether it has."""

    def probe() -> bool:
        group.head.probe()
        return group.head.ended()

    return probe


def test_an_engine_that_lies_later_is_asked_again_and_ended(make_group: MakeGroup) -> None:
    group = make_group([])
    group.head.environment["MULTINODE_HANG_SECONDS"] = "3"
    group.start()
    group.served()
    group.behave(completion=500)
    until(lambda: group.head.probe()[0] == 1, 10, "not ready")
    until(lambda: group.head.progress("token").get("state") == "running", 10, "told in the log")
    group.behave()
    until(lambda: group.head.probe()[0] == 0, 10, "ready again")
    until(lambda: group.head.progress("token").get("state") == "done", 10, "told in the log")
    assert not group.head.ended()
    group.behave(completion=500)
    # It counts steps all the same: what it answers decides.
    steps = iter(range(100_000))

    def probe() -> bool:
        (group.folder / "metrics").write_text(f"vllm:prompt_tokens_total{{}} {next(steps)}\n")
        return probing(group)()

    until(lambda: group.head.probe()[0] == 1, 10, "not ready")
    until(probe, 15, "ended")
    message = group.head.message()
    assert (message["phase"], message["state"]) == ("token", "ended")
    assert "though /health says 200: the completion was answered with 500" in message["cause"]


class Traffic:
    """What an engine's metrics say of the requests of others, a round of them for each look of the kubelet."""

    def __init__(self, group: PodGroup, metrics: str) -> None:
        self._group, self._metrics, self._rounds = group, metrics, 0

    def probe(self) -> tuple[int, str]:
        """One more round, then the readiness probe."""
        self._rounds += 1
        (self._group.folder / "metrics").write_text(self._metrics.format(self._rounds))
        return self._group.head.probe()

    def completions(self) -> int:
        """How often the engine was asked for a token."""
        return len((self._group.folder / "completions").read_text().splitlines())


# A request that the engine ends by an error counts as a step, with its prompt.
FAILING = """vllm:num_requests_running{{engine="0"}} 1
vllm:prompt_tokens_total{{engine="0"}} {0}
vllm:generation_tokens_total{{engine="0"}} 40
vllm:iteration_tokens_total_count{{engine="0"}} {0}
vllm:request_success_total{{engine="0",finished_reason="length"}} 5
vllm:request_success_total{{engine="0",finished_reason="error"}} {0}
http_requests_total{{handler="/v1/completions",method="POST",status="2xx"}} 5
http_requests_total{{handler="/v1/completions",method="POST",status="5xx"}} {0}
"""
# The engine does its part, and the API server fails to answer with it.
UNANSWERED = """vllm:generation_tokens_total{{engine="0"}} {0}
vllm:iteration_tokens_total_count{{engine="0"}} {0}
vllm:request_success_total{{engine="0",finished_reason="length"}} {0}
http_requests_total{{handler="/v1/chat/completions",method="POST",status="5xx"}} {0}
"""


@pytest.mark.parametrize("metrics", [FAILING, UNANSWERED], ids=["failing", "unanswered"])
def test_an_engine_that_lies_to_others_too_is_found_out_and_ended(make_group: MakeGroup, metrics: str) -> None:
    group = make_group([])
    group.head.environment["MULTINODE_HANG_SECONDS"] = "3"
    group.start()
    group.served()
    group.behave(completion=500)
    traffic = Traffic(group, metrics)
    until(lambda: traffic.probe()[0] == 1, 10, "not ready")
    until(lambda: traffic.probe() and group.head.ended(), 15, "ended")
    message = group.head.message()
    assert (message["phase"], message["state"]) == ("token", "ended")
    assert "though /health says 200: the completion was answered with 500" in message["cause"]


def test_a_busy_engine_that_fails_others_is_asked_and_goes_on_where_it_answers(make_group: MakeGroup) -> None:
    group = make_group([])
    group.head.environment["MULTINODE_HANG_SECONDS"] = "3"
    group.start()
    group.served()
    traffic = Traffic(group, UNANSWERED)
    until(lambda: traffic.probe() and traffic.completions() > 2, 20, "asked again, and again")
    assert traffic.probe()[0] == 0 and not group.head.ended()


@pytest.mark.parametrize("status", [429, 503])
def test_a_full_queue_ends_nothing_and_closes_nothing(make_group: MakeGroup, status: int) -> None:
    """Ten times as long as an engine that gives nothing is borne with."""
    group = make_group([])
    group.head.environment["MULTINODE_HANG_SECONDS"] = "1"
    group.start()
    group.behave(completion=status)
    until(lambda: group.head.probe()[1].startswith("the completion was answered with"), 20, "no token yet")
    group.behave()
    group.served()
    group.behave(completion=status)
    end = time.monotonic() + 10
    words = set()
    while time.monotonic() < end:
        code, said = group.head.probe()
        assert code == 0, said
        words.add(said)
    assert "the engine is busy: it admits no further request now" in words
    assert not group.head.ended()


def test_a_probe_that_is_late_is_excused_while_tokens_flow(make_group: MakeGroup) -> None:
    group = make_group([])
    group.head.environment["MULTINODE_HANG_SECONDS"] = "3"
    group.head.change("ready.py", "COMPLETION_SECONDS", 1.0)
    group.start()
    group.served()
    group.behave(late=5)
    ended = threading.Event()

    def flow() -> None:
        for number in range(1, 100_000):
            (group.folder / "metrics.new").write_text(UNANSWERED.format(number))
            (group.folder / "metrics.new").rename(group.folder / "metrics")
            if ended.wait(0.1):
                return

    others = threading.Thread(target=flow, daemon=True)
    others.start()
    said: set[tuple[int, str]] = set()
    late = (0, "the engine is busy: the probe's own completion is late, and tokens flow")
    until(lambda: said.add(group.head.probe()) or late in said, 20, "late")
    ended.set()
    others.join()
    assert {code for code, _words in said} == {0} and not group.head.ended()
    until(lambda: group.head.probe()[0] == 1, 20, "not ready, since none flow")


def test_an_option_that_this_vllm_does_not_have_is_left_out(make_group: MakeGroup, group_document: Document) -> None:
    group_document["engine"]["optional"] = [["--old-option", "4"], ["--new-option", "5"]]
    engine = group_document["engine"]
    group = make_group([], engine=engine)
    group.start()
    group.served()
    assert json.loads((group.folder / "arguments").read_text())[-2:] == ["--old-option", "4"]
    assert "left out --new-option 5: the image's vLLM does not have it" in group.head.log()
    group.behave(exit=0)
    group.head.wait(10)
    group.start()
    group.served()
    # Asked for once, whatever becomes of the container.
    assert (group.folder / "helped").read_text() == "asked\n"


def give_driver(pod: Pod, driver: str) -> None:
    """Put a node with this NVIDIA driver under the pod."""
    folder = pod.folder / "bin"
    folder.mkdir(exist_ok=True)
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\nfor gpu in 0 1; do echo 'NVIDIA A10, {driver}, 8.6, 23028, 450'; done\n")
    program.chmod(0o755)
    pod.environment["PATH"] = f"{folder}:{pod.environment['PATH']}"


def test_a_worker_unlike_the_head_says_so_before_it_joins_and_waits_for_one_that_is_like_it(
    make_group: MakeGroup,
) -> None:
    group = make_group([0])
    worker = group.workers[0]
    give_driver(group.head, "580.95.05")
    give_driver(worker, "570.133.20")
    worker.change("pod_inspection.py", "UNLIKE_SECONDS", 3.0)
    group.start()
    # All may be on their way to be replaced: no fault yet.
    until(lambda: worker.progress("ray").get("cause"), 20, "seen")
    assert worker.progress("ray")["state"] == "waiting"
    until(lambda: worker.progress("ray").get("state") == "failed", 20, "told")
    assert "not like the head's: driver 580.95.05 there, 570.133.20 here" in worker.progress("ray")["cause"]
    assert group.head.progress("ray")["done"] == 2
    group.head.kill()
    until(lambda: worker.progress("ray")["state"] == "waiting", 20, "waits for another head")
    give_driver(group.head, "570.133.20")
    group.head.start()
    group.served()
    assert not worker.ended() and worker.failures() == []
    assert worker.progress("ray")["cause"] is None


def test_a_worker_that_joined_though_unlike_is_told_by_the_head_until_another_takes_its_place(
    make_group: MakeGroup,
) -> None:
    group = make_group([0])
    worker = group.workers[0]
    give_driver(group.head, "580.95.05")
    give_driver(worker, "570.133.20")
    worker.replace("pod_inspection.py", "differences", "return []")
    group.head.change("pod_inspection.py", "UNLIKE_SECONDS", 1.0)
    group.start()
    until(lambda: group.head.progress("ray").get("state") == "failed", 20, "told")
    assert f"the pod at {worker.address} is not like the head's: driver" in group.head.progress("ray")["cause"]
    worker.kill()
    give_driver(worker, "580.95.05")
    worker.start()
    group.served()
    assert group.head.failures() == []


def test_a_dead_engine_is_not_waited_for(make_group: MakeGroup) -> None:
    group = make_group([])
    group.start()
    group.served()
    group.behave(say=["(EngineCore) ERROR RayWorkerProc rank=[1] died unexpectedly, shutting down executor."])
    assert group.head.wait(4) == 1
    assert group.head.message()["cause"].startswith("the engine died: a rank of the engine died")


def test_asked_to_end_the_engine_drains_and_the_worker_stays_as_long(make_group: MakeGroup) -> None:
    group = make_group([0])
    group.behave(drain=2)
    group.start()
    group.served()
    # The head is asked after its pause, the worker at once.
    group.workers[0].terminate()
    time.sleep(PAUSE_SECONDS)
    assert not group.workers[0].ended() and not group.head.ended()
    group.head.terminate()
    assert group.head.wait(10) == 0
    assert group.workers[0].wait(10) == 0
    assert "stand-in: draining" in group.head.log()
    assert "Traceback" not in group.head.log() + group.workers[0].log()


def test_an_image_without_ray_or_vllm_is_told(make_group: MakeGroup, tmp_path: Path) -> None:
    group = make_group([])
    group.head.environment["PATH"] = "/usr/bin:/bin"
    group.start()
    assert group.head.wait(10) == 1
    assert group.head.message()["cause"].startswith("the image has no `ray` on its PATH")
