# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Waits for a deployment to serve and says how far it is; see the module of the same name."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from ..module_utils.clock import moment
from ..module_utils.core import api_keys
from ..module_utils.core.fault import Fault, Refused
from ..module_utils.core.health.deployment_health import Judgement, judge, readable_seconds
from ..module_utils.core.health.failures import OperatorBound, operator_trouble
from ..module_utils.core.health.measured import beside_plan
from ..module_utils.core.health.observation import Observation, head_pod
from ..module_utils.core.names import object_names
from ..module_utils.core.plan.presentation.text import bill
from ..module_utils.core.plan.types import Plan
from ..module_utils.kube.deployment import Observer, read_secret
from ..plugin_utils.completion import NOT_ACCEPTED, NOT_KNOWN, complete
from ..plugin_utils.endpoint import Endpoint
from ..plugin_utils.inputs import given_inputs
from ..plugin_utils.kubernetes_writes import WritingAction
from ..plugin_utils.node_watch import NodeWatch
from ..plugin_utils.outage_tolerance import Patience
from ..plugin_utils.progress import Lines, Timeline
from ..plugin_utils.reachability.checks import missing_records
from ..plugin_utils.removal import name_of

POLL_SECONDS = 2.0
# What looks like a failure has to be seen that long: pods of a former run may still be on their way out.
FAILURE_SECONDS = 12.0
SETTLE_SECONDS = 6.0
# What the cluster refuses of the endpoint is corrected within that time, or is a fault. A new certificate may take longer: the kubelet
# brings a Secret within 90 s or so, and a load balancer changes its listener in its own time.
REFUSED_SECONDS, CERTIFICATE_SECONDS = 60.0, 300.0
# The probe makes the pod Ready a moment before the head's log has the text.
TEXT_LOOKS = 5


class ActionModule(WritingAction):
    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        plan = arguments["plan"]
        if self._task.check_mode:
            return {"changed": False, "skipped": True, "msg": "check mode does not wait"}
        inputs = given_inputs(self._loader)
        self.cluster = self.reach(inputs.settings)
        kubernetes = self.cluster.connect()
        self._task_vars = task_vars
        self._endpoint = Endpoint(kubernetes, plan)
        self._changes: list[dict[str, Any]] = []
        self._lines = Lines(self.show)
        self._timeline = Timeline()
        self._warned: dict[str, Fault] = {}
        self._refused: dict[str, float] = {}
        self._patience = Patience(lambda text: self._lines.say("cluster", text))
        name, namespace = plan["deployment"]["name"], plan["deployment"]["namespace"]
        deadline = time.monotonic() + inputs.settings["wait_timeout_minutes"] * 60
        observer = Observer(kubernetes, name, namespace)
        watch = NodeWatch(self, kubernetes, plan, inputs.settings, self._lines, task_vars)

        judgement, observation = self._wait_for_token(observer, plan, watch, deadline)
        key_name, key = self._key(kubernetes, plan)
        text = _completion(observation)
        for _look in range(TEXT_LOOKS):
            if text is not None:
                break
            time.sleep(POLL_SECONDS)
            text = _completion(observer.look())
        result = {
            "changed": bool(watch.repairs),
            "repairs": watch.repairs,
            "state": judgement.state,
            "model": plan["model"]["served_names"][0],
            "completion": text,
            "measured": judgement.measured,
            "recipes": {},
            "key_command": (
                f"kubectl --namespace {namespace} get secret {object_names(name)['api_key_secret']} "
                f"--output jsonpath='{{.data.{key_name}}}' | base64 --decode"
            ),
        }
        for fault in beside_plan(judgement.measured, plan)[1]:
            self._warned[fault.line()] = fault
        result.update(self._reached(plan, key, deadline))
        result["objects"] = self._changes
        result["changed"] = bool(watch.repairs or self._changes)
        result["timeline"] = self._timeline.entries
        # `warnings` is Ansible's own key of a task's result, which holds texts.
        result["remarks"] = [fault.as_dict() for fault in self._warned.values()]
        return result

    @staticmethod
    def _key(kubernetes: Any, plan: Plan) -> tuple[str, str]:
        """Return name and value of the API key that our own requests have."""
        secret_name = object_names(plan["deployment"]["name"])["api_key_secret"]
        found = api_keys.first(read_secret(kubernetes, plan["deployment"]["namespace"], secret_name) or {})
        if found is None:
            remedy = "run deploy again, which makes one"
            raise Refused([Fault("key_missing", f"Secret/{secret_name}", "no API key in it", "one at least", remedy)])
        return found

    def _wait_for_token(
        self, observer: Observer, plan: Plan, watch: NodeWatch, deadline: float
    ) -> tuple[Judgement, Any]:
        failed_since: float | None = None
        settled = 0.0
        bound = OperatorBound()
        while True:
            if self.hold:
                self.hold.refuse_lost()
            observation = self._patience.read(observer.look)
            if observation is None:
                time.sleep(POLL_SECONDS)
                continue
            judgement = judge(observation, plan["nodes"]["count"], plan["nodes"]["gpus"])
            self._timeline.see(judgement)
            for fault in judgement.warnings:
                if fault.line() not in self._warned:
                    self._warned[fault.line()] = fault
                    self._lines.say("ray", fault.line(), final=True)
            step = judgement.current
            if judgement.ready:
                self._lines.say("token", "a completion came back from the head", final=True)
                return judgement, observation
            now = time.monotonic()
            if plan["endpoint"]["exposure"] != "none" and now - settled >= SETTLE_SECONDS:
                # An address that is there early gives names and certificate before the engine starts, or a fault before it has.
                settled = now
                self._patience.read(self._look_at_endpoint)
            # What becomes of pods whose nodes are given back is no cause of anything.
            if judgement.failure is None or watch.emptying:
                failed_since = None
            else:
                failed_since = failed_since or now
                if now - failed_since >= FAILURE_SECONDS:
                    raise Refused([judgement.failure])
            nodes_there = step is None or step.phase != "nodes"
            if overdue := bound.failure(observation, nodes_there, now):
                raise Refused([overdue])
            text = step.text if step else f"the deployment is {judgement.state}"
            if judgement.last_failure:
                text += f"; {judgement.last_failure}"
            if not nodes_there and (trouble := operator_trouble(observation)):
                text += f"; KubeRay operator: {trouble}"
            look = partial(watch.look, observation, nodes_there, deadline - now)
            if nodes := self._patience.read(look):
                text += f"; {nodes}"
            self._lines.say(step.phase if step else "token", text)
            # Nodes that are being given back are watched until they are gone.
            if now >= deadline and not watch.emptying:
                raise Refused(
                    [
                        Fault(
                            "timeout",
                            step.phase if step else "token",
                            f"{text}, {readable_seconds(self._lines.age())} after the wait began",
                            "a completion by then (wait_timeout_minutes)",
                            _remedy("see the logs playbook; run deploy again to keep waiting", plan),
                        )
                    ]
                )
            time.sleep(POLL_SECONDS)

    def _settle(self) -> None:
        """Bring the endpoint's objects to what the cluster tells now: an address gives it names, names a certificate."""
        secrets = self._endpoint.look()
        if self._endpoint.is_settled and not secrets:
            return
        self._changes += self.apply([*secrets, *self._endpoint.objects()], self._task_vars)
        stale = self._endpoint.stale()
        self.remove(stale, self._task_vars)
        self._changes += [{"object": name_of(item), "change": "delete"} for item in stale]

    def _look_at_endpoint(self) -> str | None:
        """Settle the endpoint; return what it lacks still. Refused where the cluster has refused it for too long."""
        self._settle()
        problem = self._endpoint.problem()
        self._bound("cluster", self._endpoint.refusal, REFUSED_SECONDS)
        return problem

    def _bound(self, who: str, refusal: Fault | None, seconds: float) -> None:
        """Raise a refusal that lasts: waiting for it is billed."""
        if refusal is None:
            self._refused.pop(who, None)
        elif time.monotonic() - self._refused.setdefault(who, time.monotonic()) >= seconds:
            raise Refused([refusal])

    def _reached(self, plan: Plan, key: str, deadline: float) -> dict[str, Any]:
        """Wait until the endpoint answers a completion as its users ask for one, and return its URLs."""
        if plan["endpoint"]["exposure"] == "none":
            return {}
        began, model = moment(), plan["model"]["served_names"][0]
        while True:
            if self.hold:
                self.hold.refuse_lost()
            problem = self._patience.read(self._look_at_endpoint)
            if self._patience.away:
                time.sleep(POLL_SECONDS)
                continue
            reach = self._endpoint.reach()
            if problem is None and reach is not None:
                answer = complete(reach, model, key)
                if answer["text"] is not None:
                    break
                problem = f"{reach.url} at {reach.address} does not answer a completion yet ({answer['problem']})"
                self._bound("answer", _not_ours(plan, reach.host, str(answer["problem"])), CERTIFICATE_SECONDS)
            self._lines.say("endpoint", str(problem))
            if time.monotonic() >= deadline:
                raise Refused(
                    [
                        Fault(
                            "timeout",
                            "endpoint",
                            str(problem),
                            "an answer by then (wait_timeout_minutes)",
                            _remedy("see the events of its Service, Ingress or Gateway", plan),
                        )
                    ]
                )
            time.sleep(POLL_SECONDS)
        self._lines.say("endpoint", f"{reach.url} answered a completion", final=True)
        self._timeline.add("endpoint", began)
        missing = missing_records(self._endpoint.hosts.values(), reach.address)
        for fault in missing:
            self._lines.say("endpoint", fault.line(), final=True)
        label, dashboard = plan["deployment"]["deployment_name"], self._endpoint.dashboard_url(reach)
        recipes = {f"{label}-raycluster-app": reach.url}
        if dashboard:
            recipes[f"{label}-raycluster-dashboard"] = dashboard
        return {
            "completion": answer["text"],
            "recipes": recipes,
            "url": reach.url,
            "address": reach.address,
            "port": reach.port,
            "host": reach.host,
            "ca_pem": reach.ca_pem,
            "records_missing": [fault.as_dict() for fault in missing],
        }


def _not_ours(plan: Plan, host: str, problem: str) -> Fault | None:
    """Return the fault of an endpoint whose certificate is not verified, or that does not know our key; None for other problems."""
    if problem.startswith(NOT_KNOWN):
        remedy = "look for another Ingress, HTTPRoute or deployment with this host, and for one in front that asks for a sign-in"
        return Fault(
            "answer_of_another", host, f"{problem} to the deployment's own key", "the deployment's answer", remedy
        )
    if not problem.startswith(NOT_ACCEPTED):
        return None
    place = f"endpoint_tls: {plan['endpoint']['tls']}"
    remedy = "give the authority as ca.crt in the certificate's Secret, or correct the certificate"
    return Fault("certificate_not_accepted", place, problem, "one that this machine can verify", remedy)


def _remedy(words: str, plan: Plan) -> str:
    """Add what the nodes cost, which are still billed after the wait."""
    return "; ".join(part for part in (words, bill(plan)) if part)


def _completion(observation: Observation) -> str | None:
    """Return the text that the head got from the engine, None while its log has none."""
    head = head_pod(observation.pods)
    phases = observation.progress.get(head["metadata"]["name"], {}) if head else {}
    text = phases.get("token", {}).get("text")
    return None if text is None else str(text)
