# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Known defects of vLLM that hit pipeline parallelism over Ray. Written by hand, each with its source."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Defect:
    """One defect of the versions from `since` on and before `until` ("": of all later ones).

    code      short and stable, the fault's or the warning's code
    stages    least number of pipeline stages that it hits
    classes   the model classes that it hits; empty: any
    fatal     the group does not serve; else some requests fail
    found     what goes wrong, in words for a person
    remedy    the way out
    avoided   the option that avoids it; "" where none does
    """

    code: str
    since: str
    until: str
    stages: int
    found: str
    remedy: str
    source: str
    classes: frozenset[str] = frozenset()
    fatal: bool = True
    avoided: str = ""


# Ray's first executor renumbers its workers and leaves `global_rank`, by which each takes its KV cache's layout
# (worker_base.py). The second came to be the default where VLLM_USE_RAY_V2_EXECUTOR_BACKEND is known, and is alone
# since 0.33.
OLD_EXECUTOR = Defect(
    "old_ray_executor",
    "0.12.0",
    "0.33.0",
    3,
    "Ray's first executor, which gives workers another stage's KV cache layout from three stages on (KeyError)",
    "use at most two nodes, or an image with vLLM 0.23 or newer",
    "vllm-project/vllm issues 30128 and 41287",
)
EXECUTOR_VARIABLE = "VLLM_USE_RAY_V2_EXECUTOR_BACKEND"
# Where the variable exists already, but releases differ in its default.
EXECUTOR_DEFAULT_SINCE = "0.23.0"

DEFECTS = (
    Defect(
        "structured_output_fails",
        "0.26.0",
        "0.31.0",
        2,
        "structured output (response_format, forced tools) answers HTTP 500 with several stages and async scheduling",
        "give --no-async-scheduling if clients ask for it, or use an image with vLLM 0.31 or newer",
        "vllm-project/vllm issue 45014",
        fatal=False,
        avoided="--async-scheduling",
    ),
    Defect(
        "class_does_not_load",
        "0.12.0",
        "",
        2,
        "the class claims pipeline parallelism and does not load with it: it looks for the layers of other stages",
        "use one node whose GPUs hold the model",
        "vllm/model_executor/models/granitemoehybrid.py, load_weights",
        classes=frozenset(("GraniteMoeHybridForCausalLM",)),
    ),
)
