# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Waits for a deployment to serve and says how far it is; see the module of the same name."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

from ..module_utils.clock import moment
from ..module_utils.kube.group import Observer, read_secret
from ..module_utils.planning.fault import Fault, Refused
from ..module_utils.planning.names import object_names
from ..module_utils.planning.observation import Judgement, head_pod, judge, readable_seconds
from ..module_utils.planning.settings import SIGN_IN
from ..plugin_utils.action import Action, fault_of
from ..plugin_utils.cluster import Cluster
from ..plugin_utils.completion import complete
from ..plugin_utils.endpoint import missing_records
from ..plugin_utils.inputs import given_inputs

POLL_SECONDS = 2.0
# A line is printed when something changed, but not more often than this, and at the latest after that.
LEAST_SECONDS_BETWEEN_LINES = 5.0
MOST_SECONDS_BETWEEN_LINES = 30.0
# What looks like a failure has to be seen that long: pods of a former run may still be on their way out.
FAILURE_SECONDS = 12.0
CLOUD_SECONDS = 30.0


class ActionModule(Action):
    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        plan = arguments["plan"]
        if self._task.check_mode:
            return {"changed": False, "skipped": True, "msg": "check mode waits for nothing"}
        inputs = given_inputs(self._loader)
        kubernetes = Cluster(inputs.settings, arguments.get("kubeconfig")).connect()
        self._lines = _Lines(self._display.display)
        self._timeline = _Timeline()
        name, namespace = plan["deployment"]["name"], plan["deployment"]["namespace"]
        deadline = time.monotonic() + inputs.settings["wait_timeout_minutes"] * 60
        observer = Observer(kubernetes, name, namespace)
        cloud = _Cloud(self, name, (plan["node_pool"] or {}).get("compartment_id"), inputs.settings, task_vars)

        judgement, observation = self._wait_for_token(observer, plan, cloud, deadline)
        key = (read_secret(kubernetes, namespace, object_names(name)["api_key_secret"]) or {})["api_key"]
        head = head_pod(observation.pods)
        token = observation.progress.get(head["metadata"]["name"], {}).get("token", {}) if head else {}
        result = {
            "changed": False,
            "state": judgement.state,
            "model": plan["model"]["served_names"][0],
            "completion": token.get("text"),
            "recipes": {},
            "key_command": (
                f"kubectl --namespace {namespace} get secret {object_names(name)['api_key_secret']} "
                "--output jsonpath='{.data.api_key}' | base64 --decode"
            ),
        }
        result.update(self._endpoint(kubernetes, plan, key, deadline))
        result["timeline"] = self._timeline.entries
        return result

    def _wait_for_token(
        self, observer: Observer, plan: dict[str, Any], cloud: _Cloud, deadline: float
    ) -> tuple[Judgement, Any]:
        failed_since: float | None = None
        while True:
            observation = observer.look()
            judgement = judge(observation, plan["nodes"]["count"], plan["nodes"]["gpus"])
            self._timeline.see(judgement)
            step = judgement.current
            if judgement.ready:
                self._lines.say("token", "a completion came back from the head", final=True)
                return judgement, observation
            now = time.monotonic()
            if judgement.failure is None:
                failed_since = None
            else:
                failed_since = failed_since or now
                if now - failed_since >= FAILURE_SECONDS:
                    raise Refused([judgement.failure])
            text = step.text if step else f"the deployment is {judgement.state}"
            if step is not None and step.phase == "nodes":
                text += cloud.look(now)
            self._lines.say(step.phase if step else "token", text)
            if now >= deadline:
                raise Refused(
                    [
                        Fault(
                            "timeout",
                            step.phase if step else "token",
                            f"{text}, {readable_seconds(self._lines.age())} after the wait began",
                            "a completion by then (wait_timeout_minutes)",
                            "look at the logs playbook; running deploy again waits on",
                        )
                    ]
                )
            time.sleep(POLL_SECONDS)

    def _endpoint(self, kubernetes: Any, plan: dict[str, Any], key: str, deadline: float) -> dict[str, Any]:
        """Wait until the endpoint answers a completion from here too, and return its URLs."""
        if plan["endpoint"]["exposure"] == "none":
            return {}
        began = moment()
        name, namespace = plan["deployment"]["name"], plan["deployment"]["namespace"]
        service = object_names(name)["api_service"]
        ports, model = plan["pod"]["ports"], plan["model"]["served_names"][0]
        hosts = plan["endpoint"]["hosts"]
        while True:
            item = kubernetes.get(f"/api/v1/namespaces/{quote(namespace)}/services/{quote(service)}") or {}
            addresses = ((item.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
            problem = f"the load balancer of Service {service} has no address yet"
            if addresses:
                host = addresses[0].get("ip") or addresses[0].get("hostname")
                url = f"http://{host}:{ports['api']}"
                name = hosts.get("api", "")
                answer = complete(url, model, key, host=f"{name}:{ports['api']}" if name else "")
                if answer["text"] is not None:
                    break
                problem = f"{url} does not answer a completion yet ({answer['problem']})"
            self._lines.say("endpoint", problem)
            if time.monotonic() >= deadline:
                raise Refused(
                    [
                        Fault(
                            "timeout",
                            "endpoint",
                            problem,
                            "an answer by then (wait_timeout_minutes)",
                            "look at the Service's events",
                        )
                    ]
                )
            time.sleep(POLL_SECONDS)
        self._lines.say("endpoint", f"{url} answered a completion", final=True)
        self._timeline.add("endpoint", began)
        label = plan["deployment"]["deployment_name"]
        missing = missing_records(hosts.values(), host)
        for fault in missing:
            self._lines.say("endpoint", fault.line(), final=True)
        return {
            "completion": answer["text"],
            "recipes": {
                f"{label}-raycluster-{part}": f"http://{hosts.get(key, host)}:{ports[key]}"
                for part, key in (("app", "api"), ("dashboard", "dashboard"))
            },
            "url": url,
            "records_missing": [fault.as_dict() for fault in missing],
        }


class _Lines:
    """Prints progress: a line per change, each with the time since the wait began."""

    def __init__(self, display: Any) -> None:
        self._display = display
        self._began = time.monotonic()
        self._last = ("", "")
        self._printed = float("-inf")

    def age(self) -> float:
        return time.monotonic() - self._began

    def say(self, phase: str, text: str, final: bool = False) -> None:
        now = time.monotonic()
        since = now - self._printed
        changed = (phase, text) != self._last
        if phase == self._last[0] and not final:
            if since < (LEAST_SECONDS_BETWEEN_LINES if changed else MOST_SECONDS_BETWEEN_LINES):
                return
        self._display(f"  {readable_seconds(self.age()):>6}  {phase:<9} {text}")
        self._last, self._printed = (phase, text), now


class _Timeline:
    """When each phase ended; they run side by side, so all of them begin with the wait."""

    def __init__(self) -> None:
        self._began = moment()
        self.entries: list[dict[str, str]] = []

    def see(self, judgement: Judgement) -> None:
        known = {entry["phase"] for entry in self.entries}
        for step in judgement.steps:
            if step.finished and step.phase not in known:
                self.add(step.phase, self._began)

    def add(self, phase: str, began: str) -> None:
        self.entries.append({"phase": phase, "start": began, "end": moment()})


class _Cloud:
    """Asks the cloud from time to time why nodes are missing: a launch that failed never shows in Kubernetes."""

    def __init__(
        self,
        action: ActionModule,
        name: str,
        compartment_id: str | None,
        settings: dict[str, Any],
        task_vars: dict[str, Any],
    ) -> None:
        self._action = action
        self._task_vars = task_vars
        self._asked = float("-inf")
        self._text = ""
        self._query: dict[str, Any] | None = None
        if settings["node_provisioner"] == "oke":
            self._query = {
                "cluster_id": settings["oke_cluster_id"],
                "compartment_id": compartment_id,
                "deployment": name,
            }
            self._query.update({option: settings[option] for option in SIGN_IN})

    def look(self, now: float) -> str:
        """Return what to add to the line of the nodes. Raises Refused where nodes will not come."""
        if self._query and now - self._asked >= CLOUD_SECONDS:
            self._asked = now
            result = self._action.run_module("multinode.inference.oci_node_pool_info", self._query, self._task_vars)
            pools = result.get("node_pools") or []
            if pools:
                self._text = self._describe(pools[0])
        return self._text

    @staticmethod
    def _describe(pool: dict[str, Any]) -> str:
        errors = list(pool.get("faults") or [])
        if errors:
            raise Refused([fault_of(entry) for entry in errors])
        nodes = pool.get("nodes") or []
        active = sum(1 for node in nodes if node.get("lifecycle_state") == "ACTIVE")
        return f"; node pool {pool.get('lifecycle_state')}, {active} of its nodes ACTIVE"
