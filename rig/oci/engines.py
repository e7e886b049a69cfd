# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults of engines: asked for at the control address, told to the pods at the cloud's, which is the one that pods reach.

No cloud has this. The node gives each container of a deployment the address as RIG_ENGINE_CONTROL; what the faults are stands in
`images/vllm-ray/lib/vllm/control.py`.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from rig.oci.errors import invalid_parameter

KNOWN = ("die", "fail", "hang", "lie", "slow")
HEAL = "heal"


class Engines:
    """Which fault each deployment's engine shall have now."""

    def __init__(self) -> None:
        self._faults: dict[str, dict[str, Any]] = {}
        self._left: dict[str, int] = {}
        self._told: dict[str, int] = {}

    def steer(self, deployment: str, what: str, body: dict[str, Any]) -> dict[str, Any]:
        """Ask for a fault, until `heal`; with `times` for as many answers, so that one `die` kills once."""
        if what not in (*KNOWN, HEAL):
            raise invalid_parameter(f"{what} is not known; known are {', '.join((*KNOWN, HEAL))}")
        self._left.pop(deployment, None)
        if what == HEAL:
            # How often it was told: of `fail`, the starts of the engine.
            return {**self._faults.pop(deployment, {}), "told": self._told.pop(deployment, 0)}
        if "times" in body:
            self._left[deployment] = int(body["times"])
        self._faults[deployment] = {"do": what, "seconds": float(body.get("seconds", 1)), "log": body.get("log")}
        self._told[deployment] = 0
        return self._faults[deployment]

    def asked(self, deployment: str) -> dict[str, Any]:
        """What an engine is told; counts as one of `times`."""
        fault = self._faults.get(deployment, {})
        self._told[deployment] = self._told.get(deployment, 0) + 1
        if deployment in self._left:
            self._left[deployment] -= 1
            if self._left[deployment] <= 0:
                self.steer(deployment, HEAL, {})
        return fault

    def route(self) -> web.RouteDef:
        """The address that pods ask."""

        async def answer(request: web.Request) -> web.Response:
            return web.json_response(self.asked(request.match_info["deployment"]))

        return web.get("/engines/{deployment}", answer)
