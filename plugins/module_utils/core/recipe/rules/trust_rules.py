# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a recipe gives away or trusts: secrets in the clear, and protections of the engine that it switches off."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ...fault import Findings
from ...redaction import SECRET_VALUE, names_a_secret
from ..vllm_arguments import PLACE, Given, as_mapping, options

# Values that switch something, whatever the variable's name.
_SWITCH = ("", "0", "1", "true", "false", "yes", "no", "on", "off", "none")
_REMEDY = "make a Secret in the deployment's namespace, and name it in recipe_environment_secrets"

_CODE_FROM_CLIENTS = "who can send requests can run code in the pods"
# Variables that switch a protection off: (values that do not, what follows).
_VARIABLES: dict[str, tuple[tuple[str, ...], str]] = {
    "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": (("0", "false", ""), "pickle files may run any code when they are loaded"),
    "VLLM_ALLOW_INSECURE_SERIALIZATION": (("0", ""), "vLLM unpickles messages, which may run any code"),
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": (("0", "false", ""), "who has the API key can load adapters from any path"),
    "VLLM_SERVER_DEV_MODE": (("0", ""), "vLLM serves its development endpoints, which control the engine"),
    "VLLM_PLUGINS": ((), "vLLM loads these plugins, which run in every process"),
    "RAY_RUNTIME_ENV_HOOK": ((), "Ray runs this code"),
    "HF_HUB_OFFLINE": (("1", "true", "yes", "on"), "vLLM may read other files than those that were staged and checked"),
    "TRANSFORMERS_OFFLINE": (("1", "true", "yes", "on"), "vLLM may read other files than those that were staged"),
    "PYTHONHTTPSVERIFY": (("1",), "Python checks no certificate"),
    "CURL_CA_BUNDLE": ((), "certificates are checked against this file, or not at all"),
    "REQUESTS_CA_BUNDLE": ((), "certificates are checked against this file, or not at all"),
    "GIT_SSL_NO_VERIFY": (("0", "false"), "git checks no certificate"),
    "PYTHONPATH": ((), "Python loads modules from there first"),
    "LD_LIBRARY_PATH": ((), "libraries are loaded from there first"),
    "PATH": ((), "programs are taken from there first"),
    "PYTHONHOME": ((), "Python loads its own library from there"),
    "PYTHONUSERBASE": ((), "Python loads modules from there too"),
    "SSL_CERT_FILE": ((), "certificates are checked against this file"),
    "SSL_CERT_DIR": ((), "certificates are checked against this folder"),
    "VLLM_LOGGING_CONFIG_PATH": ((), "Python's logging imports and runs what this file names"),
    "RAY_RUNTIME_ENV_PLUGINS": ((), "Ray runs this code"),
    "CUDA_INJECTION64_PATH": ((), "this library is loaded into every process that uses a GPU"),
    "NCCL_NET_PLUGIN": ((), "NCCL loads this library"),
    "LD_AUDIT": ((), "this library is loaded into every process"),
}
# Options of vLLM that do so.
_OPTIONS = {
    "--allowed-local-media-path": "who has the API key can read files of that folder",
    "--enable-prompt-embeds": "vLLM loads tensors that clients send; a crafted one can crash it",
    "--trust-request-chat-template": "clients can send templates of their own, which the pods execute",
    "--middleware": "vLLM imports and runs this code",
    "--logits-processors": "vLLM imports and runs this code",
    "--logits-processor-pattern": _CODE_FROM_CLIENTS,
    "--worker-cls": "vLLM imports and runs this code",
    "--worker-extension-cls": "vLLM imports and runs this code",
    "--scheduler-cls": "vLLM imports and runs this code",
    "--tool-parser-plugin": "vLLM imports and runs this file",
    "--reasoning-parser-plugin": "vLLM imports and runs this file",
    "--io-processor-plugin": "vLLM loads this plugin",
    "--log-config-file": "Python's logging imports and runs what this file names",
    "--kv-events-config": "it can publish which tokens are cached, those of prompts, to whoever reaches its port",
}
# Keys of options in JSON that name a module, a class or a function of Python (vLLM's config classes); a backend does with a dot in it.
_NAMES_CODE = re.compile(r"\w+_module_path|\w+_plugin|\w+_cls|inductor_passes")


def check_secrets_in_the_clear(recipe: Mapping[str, Any], findings: Findings) -> None:
    """A secret is named, never given: what stands in a recipe is read by all who see the recipe or the pods."""
    for number, entry in enumerate(recipe.get("recipe_container_env") or ()):
        place, name, value = f"recipe_container_env[{number}].key", entry.get("key") or "", entry.get("value") or ""
        by_name = names_a_secret(name) and value.strip().lower() not in _SWITCH
        known = any(fault.where == place for fault in findings.faults)
        if not known and (by_name or SECRET_VALUE.search(value)):
            findings.fault(
                "secret_in_the_clear",
                place,
                f"{name} with a value readable by everyone who sees the recipe",
                "the name of a Secret",
                _REMEDY,
            )
    for option in options(recipe.get("recipe_container_command_args") or ()):
        if SECRET_VALUE.search(" ".join(option.words)):
            name = option.name if re.fullmatch(r"--?[A-Za-z][\w-]*", option.name) else "an argument"
            found = f"{name} with a secret, readable by everyone who sees the recipe"
            remedy = "remove it: arguments are visible in the process list"
            findings.fault("secret_in_the_clear", PLACE, found, "no secret", remedy)


def warn_of_trust(recipe: Mapping[str, Any], findings: Findings) -> None:
    """Warn of each protection that the recipe switches off, with what follows from it."""
    for place, found, reason in _trusted(recipe):
        findings.warn("protection_off", place, f"{found}: {reason}", "", "remove it unless you mean it")


def _trusted(recipe: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    if recipe.get("recipe_trust_remote_code"):
        reason = "Python code that comes with the model runs in the pods, with all that they may read and reach"
        yield "recipe_trust_remote_code", "true", reason
    for parameter, field in (("recipe_container_env", "key"), ("recipe_environment_secrets", "envvar_name")):
        for number, entry in enumerate(recipe.get(parameter) or ()):
            name = entry.get(field) or ""
            harmless, reason = _VARIABLES.get(name, ((), ""))
            # What a Secret holds is not known.
            if reason and ("value" not in entry or (entry["value"] or "").strip().lower() not in harmless):
                yield f"{parameter}[{number}].{field}", name, reason
    for option in options(recipe.get("recipe_container_command_args") or ()):
        if option.name in _OPTIONS:
            yield PLACE, option.name, _OPTIONS[option.name]
        elif key := next(_keys_of_code(option), ""):
            yield PLACE, f"{option.name} with {key}", "vLLM imports and runs this code"


def _keys_of_code(option: Given) -> Iterator[str]:
    """Yield the keys of an option in JSON, given as a whole or one by one, whose values name code."""
    level: list[Any] = [as_mapping(option.value)]
    for key in reversed(option.key):
        level = [{key.rstrip("+"): level[0] or option.value}]
    while level:
        inner: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                for key, below in value.items():
                    if _NAMES_CODE.fullmatch(key) or (key == "backend" and "." in str(below)):
                        yield key
                    inner.append(below)
            elif isinstance(value, list):
                inner += value
        level = inner
