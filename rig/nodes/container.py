# SPDX-License-Identifier: GPL-3.0-or-later
"""One container of a pod on a process node: pulled, started, probed, started again with back-off, stopped.

Facts imitated (kubelet, kuberuntime):
- the states and reasons: ContainerCreating, ErrImagePull, ImagePullBackOff, CreateContainerConfigError, CrashLoopBackOff, StartError (128),
  Completed, Error; an end by signal N is exit code 128 + N
- the events Pulling, Pulled, Created, Started, Failed, BackOff, Unhealthy, Killing
- restarts by the restart policy, with the kubelet's back-off; a container whose startup or liveness probe fails is stopped, then restarted
- the termination message: the file's first 4096 bytes, or with FallbackToLogsOnError the log's last 2048
- stopping: preStop within the grace period, then the signal, then SIGKILL; at least 2 s between the two
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from rig.cluster import ApiError, now
from rig.nodes import images, probes, status
from rig.nodes.backoff import BackOff
from rig.nodes.environment import ConfigError
from rig.nodes.launch import Launch, prepare
from rig.nodes.logs import ContainerLog
from rig.nodes.process import CannotStart, Process

if TYPE_CHECKING:
    from rig.nodes.pod import Pod

Object = dict[str, Any]

CONFIG_RETRY_SECONDS = 10
"""How soon the kubelet looks again at a container that it could not make."""
MESSAGE_BYTES = 4096
FALLBACK_BYTES = 2048
FALLBACK_LINES = 80
LEAST_GRACE_SECONDS = 2
CANNOT_START = 128


@dataclasses.dataclass
class Run:
    """One run of a container."""

    launch: Launch
    log: ContainerLog
    process: Process
    started_at: str
    container_id: str
    probes: list[asyncio.Task[None]] = dataclasses.field(default_factory=list)
    has_started: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)


class Container:
    """A container of `pod`; `role` is init, sidecar or main."""

    def __init__(self, pod: Pod, spec: Object, role: str) -> None:
        self.spec = spec
        self.role = role
        self.state = status.ContainerState(spec["name"], spec["image"], sidecar=role == "sidecar")
        if "initContainers" not in pod.object["spec"]:
            self.state.state = {"waiting": {"reason": "ContainerCreating"}}
        self.log: ContainerLog | None = None
        self.previous_log: ContainerLog | None = None
        self.has_started = asyncio.Event()
        self._pod = pod
        self._field = f"spec.{'containers' if role == 'main' else 'initContainers'}{{{spec['name']}}}"
        self._run: Run | None = None
        self._runs = 0
        self._stopping = False
        self._starting = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        """Whether a process of it runs."""
        return self._run is not None and self._run.process.is_running

    def start(self) -> asyncio.Task[None]:
        """Begin: the task ends when the container will not start again."""
        self._task = self._pod.tasks.start(self._live(), f"container {self._pod.label}/{self.spec['name']}")
        return self._task

    async def _live(self) -> None:
        back_off = BackOff()
        self._waiting("ContainerCreating")
        while True:
            image = await self._pull()
            launch = await self._configure(image)
            async with self._starting:
                if self._stopping:
                    return
                code = await self._begin(launch)
            if code is None:
                code = await self._until_ended()
            if self._stopping or not self._restarts(code):
                return
            ended = time.monotonic()
            wait = back_off.until(ended) - ended
            if wait > 0:
                await self._back_off(wait)
            back_off.advance(ended, time.monotonic())

    async def _pull(self) -> images.Image:
        """The image, once there is one of that name."""
        name, back_off = self.spec["image"], BackOff()
        present = self._pod.machine.images
        policy = self.spec.get("imagePullPolicy", "IfNotPresent")
        while True:
            if name in present and policy != "Always":
                image = present[name]
                self._event("Normal", "Pulled", f'Container image "{name}" already present on machine')
                break
            self._event("Normal", "Pulling", f'Pulling image "{name}"')
            began = time.monotonic()
            try:
                image = images.find(name)
            except images.PullError as error:
                await self._pull_failed(name, str(error), back_off)
                continue
            took = f"{(time.monotonic() - began) * 1000:.0f}ms"
            self._event("Normal", "Pulled", f'Successfully pulled image "{name}" in {took} ({took} including waiting)')
            present[name] = image
            break
        self.state.image_id = image.identifier
        return image

    async def _pull_failed(self, name: str, why: str, back_off: BackOff) -> None:
        self._event("Warning", "Failed", f'Failed to pull image "{name}": {why}')
        self._event("Warning", "Failed", "Error: ErrImagePull")
        self._waiting("ErrImagePull", why)
        back_off.advance(time.monotonic(), time.monotonic())
        await asyncio.sleep(1)  # both reasons are seen in turn, as on a real node
        self._event("Normal", "BackOff", f'Back-off pulling image "{name}"')
        self._event("Warning", "Failed", "Error: ImagePullBackOff")
        self._waiting("ImagePullBackOff", f'Back-off pulling image "{name}": ErrImagePull: {why}')
        await asyncio.sleep(back_off.seconds - 1)

    async def _configure(self, image: images.Image) -> Launch:
        """What is to be started, once all that its fields refer to is there."""
        while True:
            try:
                return await prepare(self._pod, self.spec, image, self._runs)
            except (ConfigError, ApiError, aiohttp.ClientError, TimeoutError, OSError) as error:
                reason = "CreateContainerConfigError" if isinstance(error, ConfigError) else "CreateContainerError"
                self._event("Warning", "Failed", f"Error: {error}")
                self._waiting(reason, str(error))
                await asyncio.sleep(CONFIG_RETRY_SECONDS)

    async def _begin(self, launch: Launch) -> int | None:
        """Start it; an exit code when it could not even start."""
        if self._runs:
            self.state.restarts += 1
            if self.state.terminated:
                self.state.last_state = self.state.state
        container_id = f"cri-o://{launch.identifier}"
        self.state.container_id = container_id
        log = ContainerLog(self._pod.log_folder / self.spec["name"] / f"{self._runs}.log")
        self._runs += 1
        self.log, self.previous_log = log, self.log
        self._event("Normal", "Created", f"Created container: {self.spec['name']}")
        started_at = now()
        try:
            process = await Process.start("container", launch.specification, log.write)
        except CannotStart as error:
            log.close()
            await asyncio.to_thread(launch.remove)
            self._event("Warning", "Failed", f"Error: {error}")
            message = f"failed to create containerd task: {error}"
            self.state.state = status.terminated(CANNOT_START, started_at, container_id, message, "StartError")
            self._pod.changed()
            return CANNOT_START
        run = Run(launch, log, process, started_at, container_id)
        self._run = run
        self.state.state = {"running": {"startedAt": started_at}}
        self._event("Normal", "Started", f"Started container {self.spec['name']}")
        self._start_probes(run)
        self._pod.changed()
        return None

    async def _until_ended(self) -> int:
        """Wait for the end of the run that was begun, and note it."""
        run = self._run
        assert run
        code = await run.process.wait()
        for task in run.probes:
            task.cancel()
        run.log.close()
        message = termination_message(self.spec, run.launch.message_file, run.log.path, code)
        self.state.ready = self.state.started = False
        self.state.state = status.terminated(code, run.started_at, run.container_id, message)
        await asyncio.to_thread(run.launch.remove)
        self._pod.changed()
        return code

    def _start_probes(self, run: Run) -> None:
        prober = probes.Prober(self.spec, self._pod.address, self.execute)
        startup = self.spec.get("startupProbe")
        self.state.ready = False
        self.state.started = startup is None
        if startup is None:
            self._has_started(run)
        for kind in ("startup", "readiness", "liveness"):
            probe = self.spec.get(f"{kind}Probe")
            if probe is not None:
                watch = probes.watch(
                    prober, kind.capitalize(), probe, run.has_started, self._probed, self._probe_failed
                )
                name = f"{kind} probe of {self._pod.label}/{self.spec['name']}"
                run.probes.append(self._pod.tasks.start(watch, name))

    def _probed(self, kind: str, good: bool, said: str) -> None:
        run = self._run
        if run is None or not run.process.is_running:
            return
        if kind == "Readiness":
            if self.state.ready != good:
                self.state.ready = good
                self._pod.changed()
        elif good and kind == "Startup":
            self._has_started(run)
            self._pod.changed()
        elif not good and not self._stopping:
            probe = self.spec[f"{kind.lower()}Probe"]
            grace = probe.get("terminationGracePeriodSeconds", self._pod.grace_seconds)
            why = f"Container {self.spec['name']} failed {kind.lower()} probe, will be restarted"
            self._pod.tasks.start(self._stop_run(run, grace, why), f"restart of {self._pod.label}")
            for task in run.probes:
                task.cancel()

    def _has_started(self, run: Run) -> None:
        run.has_started.set()
        self.has_started.set()
        self.state.started = True
        if "readinessProbe" not in self.spec and self.role != "init":
            self.state.ready = True

    def _probe_failed(self, kind: str, said: str) -> None:
        self._event("Warning", "Unhealthy", f"{kind} probe failed: {said}")

    async def execute(self, command: list[str], seconds: float) -> tuple[int | None, str]:
        """Run a command in the running container; its exit code (None: took longer) and its output."""
        run = self._run
        if run is None or not run.process.is_running:
            return 1, "container is not running"
        said = bytearray()
        try:
            process = await Process.start("exec", run.launch.inside(run.process.pid, command), said.extend)
        except CannotStart as error:
            return CANNOT_START, str(error)
        try:
            code: int | None = await asyncio.wait_for(process.wait(), seconds)
        except TimeoutError:
            code = None
        finally:
            if process.is_running:
                await process.kill()
        return code, said.decode(errors="replace")

    async def stop(self, grace: float) -> None:
        """Stop it for good, within `grace` seconds (0: at once)."""
        self._stopping = True
        async with self._starting:
            run = self._run
        if run and run.process.is_running:
            await self._stop_run(run, grace, f"Stopping container {self.spec['name']}")
        if self._task:
            if not self.is_running and not (self.state.terminated or "running" in self.state.state):
                self._task.cancel()
            await asyncio.wait([self._task])

    async def end_by(self, grace: float) -> None:
        """See that it has ended in `grace` seconds, while it is being stopped within more."""
        await asyncio.sleep(max(grace, LEAST_GRACE_SECONDS))
        if (run := self._run) and run.process.is_running:
            await run.process.kill()

    async def _stop_run(self, run: Run, grace: float, why: str) -> None:
        self._event("Normal", "Killing", why)
        deadline = time.monotonic() + grace
        if grace:
            hook = (self.spec.get("lifecycle") or {}).get("preStop")
            if hook:
                await self._hook(hook, grace)
            run.process.signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(
                    run.process.wait(), max(deadline - time.monotonic(), min(grace, LEAST_GRACE_SECONDS))
                )
        if run.process.is_running:
            await run.process.kill()

    async def _hook(self, hook: Object, seconds: float) -> None:
        if "sleep" in hook:
            await asyncio.sleep(min(hook["sleep"]["seconds"], seconds))
            return
        good, said = await probes.Prober(self.spec, self._pod.address, self.execute).check(
            {**hook, "timeoutSeconds": seconds}
        )
        if not good:
            self._event("Warning", "FailedPreStopHook", f"PreStopHook failed: {said}")

    def _restarts(self, code: int) -> bool:
        if self.role == "sidecar":
            return True
        policy = self.spec.get("restartPolicy") or self._pod.object["spec"].get("restartPolicy", "Always")
        if self.role == "init" or policy == "OnFailure":
            return policy != "Never" and code != 0
        return policy == "Always"

    async def _back_off(self, seconds: float) -> None:
        metadata = self._pod.object["metadata"]
        full = f"{metadata['name']}_{metadata['namespace']}({metadata['uid']})"
        name = self.spec["name"]
        self._event("Warning", "BackOff", f"Back-off restarting failed container {name} in pod {full}")
        self.state.last_state = self.state.state
        text = f"back-off {round(seconds)}s restarting failed container={name} pod={full}"
        self._waiting("CrashLoopBackOff", text)
        await asyncio.sleep(seconds)

    def _waiting(self, reason: str, message: str = "") -> None:
        if self.state.terminated:
            self.state.last_state = self.state.state
        self.state.state = {"waiting": {"reason": reason, **({"message": message} if message else {})}}
        self._pod.changed()

    def _event(self, kind: str, reason: str, message: str) -> None:
        self._pod.event(kind, reason, message, self._field)


def termination_message(spec: Object, file: Path, log: Path, code: int) -> str:
    """What a container that ended with `code` left to say."""
    text = file.read_bytes()[:MESSAGE_BYTES].decode(errors="replace") if file.exists() else ""
    if text or code == 0 or spec.get("terminationMessagePolicy") != "FallbackToLogsOnError":
        return text
    lines = [entry.split(b" ", 3)[3] for entry in log.read_bytes().splitlines()[-FALLBACK_LINES:]]
    return b"\n".join(lines)[-FALLBACK_BYTES:].decode(errors="replace")
