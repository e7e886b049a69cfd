# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where a plan begins: the image, the model as its vLLM reads it, and how many nodes of which shape hold it.

From this follows what vLLM can be asked, before anything is computed with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...catalog.load_formats import is_read
from ...catalog.shapes import Shape
from ...catalog.vllm.release import Release
from ...fault import Findings, Refused
from ...model.facts import ModelFacts
from ...model.model import read_model
from ...recipe.inputs import Inputs
from ...recipe.model_source import model_source
from ...recipe.node_checks import checked_shape
from ...recipe.secret_references import check_secrets
from ...recipe.vllm_arguments import PLACE as ARGUMENTS
from ...sizing.memory import fewest_nodes, memory_plan
from ...sizing.options import MemoryOptions
from ...sizing.parallelism import check_parallelism
from ..arguments import EngineArguments, read_arguments
from ..capacity import listed_shape
from ..engine import engine_of
from ..facts import Choices, Facts
from ..pod import pod_of
from ..types import Pod
from .answer import Question, question_of
from .class_rules import check_code, check_release
from .image import ChosenImage, choose_image
from .parsers import plan_parsers
from .speculation import Speculation, draft_states, drafts_itself, plan_speculation
from .variables import read_variables


@dataclass(frozen=True)
class Beginning:
    """What a plan is made of, and what was found so far.

    pipeline   nodes; 0, with a fault, where the planner was to choose and finds none
    parsers    arguments of vLLM for tool calls and reasoning
    executor   the variables that choose Ray's executor
    """

    findings: Findings
    choices: Choices
    namespace: str
    shape: Shape | None
    image: ChosenImage
    pod: Pod
    given: EngineArguments
    model: ModelFacts
    pipeline: int
    speculation: Speculation
    parsers: tuple[str, ...]
    executor: dict[str, str]


def begin(inputs: Inputs, facts: Facts) -> Beginning:
    """Return the beginning of the plan. Raises Refused where nothing tells how many layers the model has."""
    recipe, settings, cluster = inputs.recipe, inputs.settings, facts.cluster
    findings = Findings()
    findings.warnings += inputs.warnings
    choices = Choices(facts.deployment.get("choices") or {}, settings["adopt_defaults"], findings)
    namespace = settings["namespace"] or inputs.name
    check_secrets(recipe, namespace, facts.secrets, findings)
    shape = checked_shape(recipe, findings, listed_shape(cluster) if cluster else None)
    image = choose_image(inputs, choices, shape, findings)
    known = image.release
    pod = pod_of(inputs, image, choices, shape, (cluster or {}).get("exports") or (), findings)
    variables = read_variables(recipe, known, findings)
    given = read_arguments(recipe, settings, findings, known, variables)
    model = _model(facts.model, given, known, findings)
    if drafts_itself(recipe, given.speculative):
        given = replace(given, memory=replace(given.memory, draft_layers=model.predicted))
    elif states := draft_states(given.speculative):
        given = replace(given, memory=replace(given.memory, draft_states=states))
    pipeline = _nodes(inputs, model, shape, given.memory, choices, facts, findings)
    parallel = recipe["recipe_nvidia_gpu_count"], pipeline
    staged = model_source(recipe)["mount_location"] if pod["model_cache"]["kind"] == "volume" else ""
    speculation = plan_speculation(recipe, model, given.speculative, known, parallel, findings, staged)
    parsers = plan_parsers(recipe, model, known, given.given, choices, findings)
    check_code(model, known, bool(recipe["recipe_trust_remote_code"]), findings)
    executor = check_release(model, known, pipeline, shape, given.given, variables.old_executor, findings)
    return Beginning(
        findings, choices, namespace, shape, image, pod, given, model, pipeline, speculation, parsers, executor
    )


def vllm_question(inputs: Inputs, facts: Facts) -> Question | None:
    """Return what vLLM is to be asked of the plan; None where there is no plan to ask about."""
    try:
        start = begin(inputs, facts)
    except Refused:
        return None
    if not start.pipeline:
        return None
    parallel = inputs.recipe["recipe_nvidia_gpu_count"], start.pipeline
    more = (*start.speculation.arguments, *start.parsers)
    engine = engine_of(inputs, start.model, None, parallel, start.given, start.executor, more, Findings())
    drafter = bool(start.given.speculative.get("model"))
    return question_of(inputs, start.image.release, engine["args"], engine["env"], facts.model, drafter)


def _model(found: Mapping[str, Any], given: EngineArguments, known: Release, findings: Findings) -> ModelFacts:
    """Return what the plan has to know of the model. found: of `model_info`; known: the image's vLLM.

    Raises Refused where nothing says how many layers the model has.
    """
    model = read_model(
        found["config"],
        found.get("index"),
        found.get("files") or (),
        vllm=known.version or "",
        overrides=given.hf_overrides,
        hf_quant_config=found.get("hf_quant_config"),
    )
    findings.faults += model.faults
    findings.warnings += model.warnings
    if found.get("tokenizer") == [] and not given.has_tokenizer:
        findings.warn(
            "tokenizer_missing",
            "the model's files",
            "no tokenizer among them",
            "tokenizer.json, tokenizer.model or what the model's own code reads",
            "copy it beside the weights, or give vLLM --skip-tokenizer-init",
        )
    names = [entry["name"] for entry in found.get("files") or ()]
    asked = given.load_format not in ("auto", "dummy")
    if names and asked and not any(is_read(name, given.load_format) for name in names):
        findings.fault(
            "weights_not_read",
            f"{ARGUMENTS} --load-format",
            f"{given.load_format}, and none of the {len(names)} files that were found for the nodes is one that it reads",
            "weights in that format",
            "read the model's files again with this argument in the recipe, or remove it",
        )
    if given.config_format == "mistral":
        findings.warn(
            "config_of_another_form",
            f"{ARGUMENTS} --config-format",
            "mistral: vLLM reads params.json, the plan config.json",
            "",
            "the plan is an estimate where they differ",
        )
    certain = model.certain and known.exact and given.config_format != "mistral"
    return replace(model, certain=certain)


def _nodes(
    inputs: Inputs,
    model: ModelFacts,
    shape: Shape | None,
    options: MemoryOptions,
    choices: Choices,
    facts: Facts,
    findings: Findings,
) -> int:
    """Return the number of nodes; 0, with a fault, where the planner is to choose it and finds none."""
    given = inputs.recipe["recipe_node_pool_size"]
    if isinstance(given, int):
        return given
    fewest = fewest_nodes(model, shape, options) if shape is not None else None

    # More nodes than the pool has are asked for by nobody who has only written an annotation.
    most = (facts.own_pool or {}).get("size") or 0

    def stand(nodes: Any) -> bool:
        return (
            isinstance(nodes, int)
            and not isinstance(nodes, bool)
            and nodes > 0
            and (facts.cluster is None or nodes <= most)
        )

    kept = choices.kept("nodes")
    today = fewest.pipeline if fewest else kept if stand(kept) else None
    if today is not None:
        return int(choices.choose("nodes", None, today, "the fewest that hold the model and its context", stand))
    if shape is not None:
        # What is missing on one node says it best, and names other shapes.
        refused = (
            check_parallelism(model, shape, shape.gpus, 1, options).faults
            or memory_plan(model, shape, shape.gpus, 1, options).faults
        )
        findings.faults += refused
        if not refused:
            findings.fault(
                "nodes_unknown",
                "recipe_node_pool_size",
                f"{given}, and how many nodes of {shape.name} it takes is not known",
                "a number",
                "give the number of nodes",
            )
    return 0
