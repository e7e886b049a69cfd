# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""GPU memory: weights, KV cache, what context and how many requests fit; the fewest nodes; other shapes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ..catalog.images import default_image
from ..catalog.shapes import SHAPES, Shape
from ..fault import Fault, Findings
from ..model.facts import ModelFacts
from .options import MemoryOptions
from .overhead import GIB
from .parallelism import check_parallelism
from .stages import DEFAULT_LENGTH, LEAST_CONTEXT, Gpu, MemoryPlan, gpu_of, plan_stages

# Of the bytes of the files at least this much is loaded.
_LEAST_SHARE = 0.5
_DEFAULTS = MemoryOptions()


@dataclass(frozen=True)
class Alternative:
    """A shape that serves the model, with the fewest nodes of it and their price."""

    shape: str
    nodes: int
    kv_tokens: int
    max_context: int
    usd_per_hour: float | None


def memory_plan(
    model: ModelFacts, shape: Shape, tensor: int, pipeline: int, options: MemoryOptions = _DEFAULTS
) -> MemoryPlan:
    """What lies in each stage's GPUs. Does not raise when it does not fit: `fits` is False and `faults` say the way out.

    Raises Refused when there are more stages than layers.
    """
    gpu = gpu_of(shape, options)
    if gpu is None:
        plan = plan_stages(model, Gpu(0.0, shape.compute_capability), tensor, pipeline, options)
        unknown = Fault(
            "gpu_memory_unknown",
            "recipe_node_shape",
            f"{shape.name}, whose GPU memory is not known",
            "",
            "whether the model fits is not known; vLLM tells at its start",
        )
        context = options.max_model_len or model.default_length or DEFAULT_LENGTH
        return replace(plan, fits=True, context=context, warnings=(unknown,))
    plan = plan_stages(model, gpu, tensor, pipeline, options)
    findings = Findings()
    _check_length(model, options, findings)
    asked, most = options.max_num_seqs, plan.most_requests
    if asked and most is not None and 0 < most < asked and model.certain:
        findings.fault(
            "requests_beyond_states",
            "--max-num-seqs",
            f"{asked} requests at once",
            f"at most {most}, whose states the cache holds",
            "ask for fewer: vLLM refuses more at its start",
        )
    if findings.faults:
        return replace(plan, fits=False, faults=tuple(findings.faults))
    if not plan.fits:
        misfit = _misfit(model, shape, plan, options)
        if _refutes(model, plan, options):
            return replace(plan, faults=(misfit,))
        # What is only estimated refuses nothing: vLLM has the last word.
        if not _uncertain(plan, options):
            remedy = f"vLLM tells at its start whether it fits; {misfit.remedy}"
            findings.warnings.append(replace(misfit, code="may_not_fit", expected="", remedy=remedy))
        least = min(LEAST_CONTEXT, model.default_length or DEFAULT_LENGTH)
        plan = replace(plan, fits=True, context=options.max_model_len or least)
    _remark(model, shape, plan, options, findings)
    return replace(plan, warnings=tuple(findings.warnings))


def _check_length(model: ModelFacts, options: MemoryOptions, findings: Findings) -> None:
    wanted, longest = options.max_model_len, model.max_length
    if not wanted or not longest or wanted <= longest:
        return
    found, expected = f"{wanted} tokens", f"at most {longest}, for which the model was made"
    if options.allow_long:
        findings.warn(
            "context_beyond_model", "recipe_max_model_length", found, expected, "what it says there may be wrong"
        )
    else:
        findings.fault(
            "context_beyond_model",
            "recipe_max_model_length",
            found,
            expected,
            "ask for a shorter context; vLLM refuses a longer one",
        )


def _uncertain(plan: MemoryPlan, options: MemoryOptions) -> bool:
    """Whether the context that is asked for lies between what is sure to fit and what may."""
    return plan.max_context < (options.max_model_len or 0) <= plan.max_context_high


def _refutes(model: ModelFacts, plan: MemoryPlan, options: MemoryOptions) -> bool:
    """Whether it is proved that the model does not fit: by certain numbers, or by the size of its files alone."""
    wanted = options.max_model_len or min(LEAST_CONTEXT, model.default_length or DEFAULT_LENGTH)
    optimistic = all(stage.available_high_bytes > 0 for stage in plan.stages) and plan.max_context_high >= wanted
    if model.certain:
        return not optimistic
    # What is stored in 32 bits is served in 16, and layers for speculation are not loaded.
    loaded = model.checkpoint_bytes * _LEAST_SHARE if model.checkpoint_source != "computed" else 0
    return loaded > sum(stage.usable_bytes * plan.tensor for stage in plan.stages)


def fewest_nodes(
    model: ModelFacts, shape: Shape, options: MemoryOptions = _DEFAULTS, limit: int = 16
) -> MemoryPlan | None:
    """The plan with the fewest nodes of the shape (tensor parallel = its GPUs) that is sure to serve the model, or None.

    It holds max_model_len where that is given, else LEAST_CONTEXT or the model's own length.
    """
    gpu = gpu_of(shape, options)
    if gpu is None:
        return None
    for nodes in range(1, min(limit, len(model.layers)) + 1):
        if check_parallelism(model, shape, shape.gpus, nodes, options).faults:
            continue
        plan = plan_stages(model, gpu, shape.gpus, nodes, options)
        if plan.fits:
            return plan
    return None


def alternatives(
    model: ModelFacts,
    options: MemoryOptions = _DEFAULTS,
    limit: int = 8,
    shapes: Sequence[Shape] = SHAPES,
) -> list[Alternative]:
    """Shapes that would serve the model with at most `limit` nodes, cheapest first; those without a price last.

    Only those that the newest default image runs on (images.py): another image's vLLM may refuse what this one serves.
    """
    # What was given is of the recipe's own GPUs.
    options = replace(options, gpu_memory_gib=None, overhead_gib=None, layers=())
    found = []
    for shape in shapes:
        if shape.vendor != "nvidia" or shape.architecture != "amd64" or default_image(shape) != default_image(None):
            continue
        plan = fewest_nodes(model, shape, options, limit) if _in_its_type(model, shape, options) else None
        if plan is not None:
            price = None if shape.usd_per_hour is None else shape.usd_per_hour * plan.pipeline
            found.append(Alternative(shape.name, plan.pipeline, plan.kv_tokens, plan.max_context, price))
    return sorted(found, key=lambda item: (item.usd_per_hour is None, item.usd_per_hour or 0.0, item.nodes, item.shape))


def _in_its_type(model: ModelFacts, shape: Shape, options: MemoryOptions) -> bool:
    """Whether the shape's GPUs compute in the model's type: nobody is sent to others."""
    warnings = check_parallelism(model, shape, shape.gpus, 1, options).warnings
    return all(warning.code != "bfloat16_not_supported" for warning in warnings)


def _gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"


def _misfit(model: ModelFacts, shape: Shape, plan: MemoryPlan, options: MemoryOptions) -> Fault:
    """The fault of a plan that does not fit, with the ways out."""
    tight = min(plan.stages, key=lambda stage: stage.available_bytes)
    ways = []
    nodes = fewest_nodes(model, shape, options)
    if nodes is not None:
        ways.append(f"use {nodes.pipeline} nodes of {shape.name}")
    others = _distinct(item for item in alternatives(model, options) if item.shape != shape.name)
    if others:
        ways.append("or " * bool(ways) + "choose " + ", ".join(f"{item.nodes} x {item.shape}" for item in others))
    if plan.max_context:
        ways.append(f"or ask for at most {plan.max_context} tokens of context")
    remedy = "; ".join(ways) if ways else "take a smaller or a quantized form of the model"
    where = f"{plan.pipeline} x {shape.name}"
    if tight.available_high_bytes <= 0 or not plan.max_context_high:
        return Fault(
            "does_not_fit",
            where,
            f"{_gib(tight.weights_bytes)} of weights for each GPU of stage {tight.stage}",
            f"at most {_gib(max(0, tight.usable_bytes - tight.overhead_low_bytes))}",
            remedy,
        )
    wanted = options.max_model_len or min(LEAST_CONTEXT, model.default_length or DEFAULT_LENGTH)
    return Fault(
        "context_does_not_fit",
        where,
        f"KV cache for {plan.max_context} tokens beside the weights, at best for {plan.max_context_high}",
        f"at least {wanted}",
        remedy,
    )


def served_by(model: ModelFacts, shape: Shape, options: MemoryOptions = _DEFAULTS) -> list[str]:
    """Return what would serve the model, as `2 x BM.GPU.H100.8`: the fewest nodes of the shape, then other shapes."""
    nodes = fewest_nodes(model, shape, options)
    others = _distinct(item for item in alternatives(model, options) if item.shape != shape.name)
    found = [f"{nodes.pipeline} x {shape.name}"] if nodes is not None else []
    return found + [f"{item.nodes} x {item.shape}" for item in others]


def _distinct(found: Iterable[Alternative]) -> list[Alternative]:
    """The three cheapest with different GPUs, and the cheapest of one node."""
    gpus: set[str] = set()
    chosen: list[Alternative] = []
    for item in found:
        gpu = next(shape.gpu for shape in SHAPES if shape.name == item.shape)
        alone = item.nodes == 1 and all(other.nodes > 1 for other in chosen)
        if gpu not in gpus and (len(chosen) < 3 or alone):
            gpus.add(gpu)
            chosen.append(item)
    return chosen


def _remark(model: ModelFacts, shape: Shape, plan: MemoryPlan, options: MemoryOptions, findings: Findings) -> None:
    length, wanted = model.default_length, options.max_model_len
    if wanted is None and length and model.kv_known and plan.context < length:
        findings.warn(
            "context_shortened",
            "context",
            f"{plan.context} tokens, the model was made for {length}",
            "",
            f"{plan.max_context} are sure to fit, and {plan.max_context_high} may; "
            "more nodes or GPUs with more memory hold more",
        )
    if wanted and _uncertain(plan, options):
        findings.warn(
            "context_uncertain",
            "recipe_max_model_length",
            f"{wanted} tokens, where between {plan.max_context} and {plan.max_context_high} fit",
            f"at most {plan.max_context}",
            "what lies beside weights and cache is an estimate: vLLM may refuse it at its start",
        )
    if plan.wide:
        low, high = plan.stages[0].overhead_low_bytes, plan.stages[0].overhead_bytes
        findings.warn(
            "memory_range_wide",
            "recipe_node_shape",
            f"from {_gib(low)} to {_gib(high)} beside weights and cache on a GPU: {plan.wide}",
            "",
            "after the first start gpu_overhead_mib can say what vLLM measured",
        )
    if plan.max_num_seqs:
        findings.warn(
            "requests_lowered",
            "--max-num-seqs",
            f"{plan.max_num_seqs}: the cache holds the states of no more requests",
            "",
            "vLLM refuses its own default here; more nodes or GPUs with more memory hold more",
        )
    if plan.pipeline > 1 and shape.gpus == plan.tensor and model.kv_known:
        fewest = fewest_nodes(model, shape, options, plan.pipeline - 1)
        if fewest is not None:
            findings.warn(
                "fewer_nodes_suffice",
                "recipe_node_pool_size",
                f"{plan.pipeline} nodes, and {fewest.pipeline} would do",
                "",
                f"{fewest.pipeline} of {shape.name} hold {fewest.kv_tokens} tokens of KV cache, "
                f"these hold {plan.kv_tokens}",
            )
