# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a deployment costs an hour while it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypedDict

from ..catalog.shapes import PRICE_DATE, Shape
from ..fault import Findings

HOURS_OF_A_MONTH = 730
# Block volumes are sold in whole steps from here on (OCI Block Volume).
LEAST_VOLUME_GB = 50
# Performance of a boot volume and of the StorageClass oci-bv ("balanced"), in volume performance units per GB.
BALANCED_VPUS = 10
# Of the list price, for preemptible capacity (OCI Compute, "Preemptible Instances").
PREEMPTIBLE_SHARE = 0.5


@dataclass(frozen=True)
class Prices:
    """US dollars, of Oracle's public pay-as-you-go list in the month `date` (the setting `prices` puts others in place).

    gpu_hour            one GPU of the shape, with its share of the node; None: not known
    volume_gb_month     a GB of block or boot volume (part B91961)
    volume_vpu_month    one performance unit of a GB (part B91962)
    load_balancer_hour  a flexible load balancer (part B93030), without bandwidth; an account's first 744 hours a month are
                        free, which is not counted: other load balancers may take them
    """

    gpu_hour: float | None
    volume_gb_month: float = 0.0255
    volume_vpu_month: float = 0.0017
    load_balancer_hour: float = 0.0113
    date: str = PRICE_DATE


class Cost(TypedDict):
    """US dollars an hour. `nodes` and `total` are None where the GPU's price is not known."""

    nodes: float | None
    boot_volumes: float
    model_volumes: float
    load_balancer: float
    total: float | None
    price_date: str


def prices_of(shape: Shape, given: Mapping[str, str] | None, findings: Findings, preemptible: bool = False) -> Prices:
    """Return the list prices with those of the setting `prices` in their place."""
    own: dict[str, Any] = {}
    known = ("gpu_hour", "volume_gb_month", "volume_vpu_month", "load_balancer_hour")
    for name, text in (given or {}).items():
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if name not in known:
            findings.fault("unknown_key", f"prices.{name}", "a key that is not known", ", ".join(known))
        elif not 0 <= value < 1e9:
            findings.fault("type", f"prices.{name}", repr(text), "US dollars, a number", f"correct prices.{name}")
        else:
            own[name] = value
    listed = shape.usd_per_gpu_hour
    prices = Prices(listed * PREEMPTIBLE_SHARE if preemptible and listed is not None else listed)
    return replace(prices, **own, date=f"{PRICE_DATE}, some given") if own else prices


def cost_of(
    shape: Shape, nodes: int, boot_volume_gb: int, model_volume_gb: int, vpus: int, load_balancer: bool, prices: Prices
) -> Cost:
    """Return US dollars an hour, part by part."""
    compute = None if prices.gpu_hour is None else prices.gpu_hour * shape.gpus * nodes

    def volumes(size: int, units: int) -> float:
        month = prices.volume_gb_month + units * prices.volume_vpu_month
        return nodes * max(size, LEAST_VOLUME_GB) * month / HOURS_OF_A_MONTH if size else 0.0

    boot, model = volumes(boot_volume_gb, BALANCED_VPUS), volumes(model_volume_gb, vpus)
    balancer = prices.load_balancer_hour if load_balancer else 0.0
    return {
        "nodes": compute if compute is None else round(compute, 4),
        "boot_volumes": round(boot, 4),
        "model_volumes": round(model, 4),
        "load_balancer": round(balancer, 4),
        "total": None if compute is None else round(compute + boot + model + balancer, 4),
        "price_date": prices.date,
    }
