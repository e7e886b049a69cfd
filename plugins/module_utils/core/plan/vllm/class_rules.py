# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether the image's vLLM has the model's class, and can run it over so many stages."""

from __future__ import annotations

from ...catalog.images import RAY_LLM, VLLM_OF_RAY
from ...catalog.model_types import MODEL_TYPES, RUN_BY_TRANSFORMERS
from ...catalog.shapes import Shape
from ...catalog.vllm.defects import EXECUTOR_DEFAULT_SINCE, EXECUTOR_VARIABLE, OLD_EXECUTOR
from ...catalog.vllm.release import Release, last_with_class, parsed, versions_with_class
from ...fault import Findings
from ...model.facts import ModelFacts
from ...recipe.values import shown
from ...recipe.vllm_arguments import Arguments

_IMAGE = "recipe_image_uri"
_CLASS = "config.json architectures"
# The newest GPUs for which no image with RayExecutorV2 has kernels, and the oldest that vLLM runs on.
_VOLTA = (7, 0)
# Of the Transformers beside it the model types are not known.
_OTHER_TRANSFORMERS_SINCE = "0.33.0"


def images_from(version: str) -> str:
    """Say where an image with that vLLM or a newer one is to be had."""
    lines = [ray for ray, vllm in VLLM_OF_RAY.items() if parsed(vllm) >= parsed(version)]
    if lines:
        return f"use an image with vLLM {version} or newer, such as {RAY_LLM} of Ray {lines[0]}"
    return f"build an image with vLLM {version} or newer (docs/images.md) and say in image_contents what it holds"


def check_release(
    model: ModelFacts,
    known: Release,
    stages: int,
    shape: Shape | None,
    arguments: Arguments,
    old_executor: bool,
    findings: Findings,
) -> dict[str, str]:
    """Check all that the image's vLLM decides of class and stages; return the variables that choose Ray's executor.

    old_executor: a variable asks for Ray's first executor.
    """
    _check_class(model, known, arguments, findings)
    _check_deprecated(model, known, arguments, findings)
    _check_defects(model, known, stages, arguments, old_executor, findings)
    return _check_executor(known, stages, shape, findings)


def _check_deprecated(model: ModelFacts, known: Release, arguments: Arguments, findings: Findings) -> None:
    """Refuse a quantization method that this vLLM takes only when it is allowed by name."""
    method = model.quantization.method if model.quantization else ""
    if known.deprecates(method) and not arguments.switch("--allow-deprecated-quantization"):
        findings.fault(
            "quantization_deprecated",
            "config.json quantization_config",
            f"{method}, which vLLM {known.version} serves only with --allow-deprecated-quantization",
            "a method that is not deprecated",
            "add --allow-deprecated-quantization to recipe_container_command_args, or use the model in another form",
        )


def _check_class(model: ModelFacts, known: Release, arguments: Arguments, findings: Findings) -> None:
    """Refuse a class that this vLLM does not have yet, or no longer has."""
    name = model.architecture
    if known.version is None or not name or known.has_class(name) or name in known.drafts:
        return
    if arguments.text("--model-impl") == "transformers":
        return
    has = [version for version in versions_with_class(name) if parsed(version) > parsed(known.version)]
    last = last_with_class(name)
    if has:
        findings.fault(
            "architecture_too_new",
            _CLASS,
            f"{name}, which vLLM {known.version} does not have yet",
            f"a class of that vLLM, or vLLM {has[0]}",
            images_from(has[0]),
        )
    elif last and name in RUN_BY_TRANSFORMERS:
        findings.warn(
            "architecture_unknown",
            _CLASS,
            f"{name}, which vLLM {known.version} no longer has and runs by Transformers' class of that name",
            "",
            f"vLLM says at its start if it cannot; an image with vLLM {last} or older has a class of its own",
        )
    elif last:
        findings.fault(
            "architecture_removed",
            _CLASS,
            f"{name}, which vLLM {known.version} no longer has",
            f"an image with vLLM {last} or older",
            "name one in recipe_image_uri, or use another model",
        )
    else:
        findings.warn(
            "architecture_unknown",
            _CLASS,
            f"{name}, which is not in the registry of vLLM {known.version}",
            "",
            "vLLM serves it only if Transformers has the class, or a plugin of the image; else it ends at its start",
        )


def _check_defects(
    model: ModelFacts, known: Release, stages: int, arguments: Arguments, old_executor: bool, findings: Findings
) -> None:
    """Refuse what this vLLM is known to break with so many stages; warn of what fails for some requests only."""
    name = model.architecture
    for defect in known.defects:
        hit = not defect.classes or name in defect.classes
        if stages < defect.stages or not hit:
            continue
        if defect.avoided and arguments.switch(defect.avoided) is False:
            continue
        found = f"{name}: {defect.found}" if defect.classes else f"vLLM {known.version}: {defect.found}"
        if defect.fatal:
            findings.fault(defect.code, _CLASS, found, f"fewer than {defect.stages} stages", defect.remedy)
        else:
            findings.warn(defect.code, _IMAGE, f"{found} ({defect.source})", "", defect.remedy)
    if old_executor and stages >= OLD_EXECUTOR.stages:
        findings.fault(
            OLD_EXECUTOR.code,
            f"recipe_container_env {EXECUTOR_VARIABLE}",
            f"{stages} stages with {OLD_EXECUTOR.found}; {OLD_EXECUTOR.source}",
            f"fewer than {OLD_EXECUTOR.stages} stages, or RayExecutorV2",
            f"remove {EXECUTOR_VARIABLE}",
        )


def _check_executor(known: Release, stages: int, shape: Shape | None, findings: Findings) -> dict[str, str]:
    """Refuse three stages and more where vLLM has only Ray's first executor; return the variable that chooses the second.

    The variable is set where releases differ in their default.
    """
    has = shape.compute_capability if shape else None
    if known.new_executor is False and stages >= OLD_EXECUTOR.stages and (has is None or has >= _VOLTA):
        newer = "or a shape with newer GPUs, for which there are newer images"
        findings.fault(
            OLD_EXECUTOR.code,
            _IMAGE,
            f"{stages} stages with vLLM {known.version}: {OLD_EXECUTOR.found}; {OLD_EXECUTOR.source}",
            f"fewer than {OLD_EXECUTOR.stages} stages",
            f"use at most two nodes, {newer}" if has == _VOLTA else OLD_EXECUTOR.remedy,
        )
    undecided = known.new_executor and known.at_least(EXECUTOR_DEFAULT_SINCE) is False
    if undecided and stages >= OLD_EXECUTOR.stages:
        findings.warn(
            OLD_EXECUTOR.code,
            _IMAGE,
            f"vLLM {known.version} may start {OLD_EXECUTOR.found}; {OLD_EXECUTOR.source}",
            "",
            f"the plan sets {EXECUTOR_VARIABLE}=1, which takes the second",
        )
    return {EXECUTOR_VARIABLE: "1"} if undecided else {}


def check_code(model: ModelFacts, known: Release, trusted: bool, findings: Findings) -> None:
    """Check whether vLLM can read the configuration and has the class without code from the repository.

    trusted: recipe_trust_remote_code. A configuration class is vLLM's own, else Transformers', else the repository's
    (vllm/transformers_utils/config.py, HFConfigParser).
    """
    kind = model.config_type
    strange = known.version is not None and bool(kind) and kind not in known.configs and kind not in MODEL_TYPES
    if strange and not model.remote_config:
        findings.warn(
            "config_unknown",
            "config.json model_type",
            f"{shown(kind)}, of which neither vLLM {known.version} nor Transformers has a configuration",
            "",
            "vLLM ends at its start unless a plugin of the image has one",
        )
    # What comes with a newer Transformers is not known here.
    refused = strange and model.remote_config and known.at_least(_OTHER_TRANSFORMERS_SINCE) is False
    if trusted or not (refused or (model.remote_code and model.supports_pipeline is None)):
        return
    found = f"{model.architecture or 'the model'} comes with Python code of its own"
    findings.fault(
        "remote_code",
        "recipe_trust_remote_code",
        f"not given, and {found}{f' for its configuration, the type {shown(kind)}' if refused else ''}",
        "true, since vLLM cannot read the configuration otherwise"
        if refused
        else "true, since vLLM may not know the class otherwise",
        "read the code in the model's folder; set it if you trust it to run in the pods",
    )


def check_context_parallel(model: ModelFacts, tensor: int, arguments: Arguments, findings: Findings) -> None:
    """Refuse a decode context parallel size that vLLM refuses (config/model.py, verify_with_parallel_config)."""
    text = arguments.text("--decode-context-parallel-size")
    size = int(text) if text and text.isdigit() else 1
    if size <= 1:
        return
    most = tensor if model.mla else tensor // max(1, model.kv_heads)
    if most < 2 or size > most or tensor % size:
        findings.fault(
            "context_parallel",
            "recipe_container_command_args --decode-context-parallel-size",
            f"{size} with {tensor} GPUs a node and {model.kv_heads} key/value heads",
            f"a divisor of {tensor}, at most {most}" if most > 1 else "more GPUs a node than key/value heads",
            "remove it",
        )
