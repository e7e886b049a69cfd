# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Further arguments of vLLM: which a person may give, and how they join those that follow from the recipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..fault import Fault

PLACE = "recipe_container_command_args"

# Options that the plan rests on, and what says the same in a recipe.
_DERIVED = {
    "--model": "recipe_raycluster_params.model_path_in_container says it",
    "--tensor-parallel-size": "recipe_nvidia_gpu_count says it",
    "--pipeline-parallel-size": "recipe_node_pool_size says it",
    "--data-parallel-size": "one engine takes all nodes",
    "--distributed-executor-backend": "it is Ray",
    "--nnodes": "Ray brings the nodes together",
    "--node-rank": "Ray brings the nodes together",
    "--master-addr": "Ray brings the nodes together",
    "--headless": "Ray brings the nodes together",
    "--host": "the pod's address is taken",
    "--port": "recipe_container_port says it",
    "--uds": "recipe_container_port says where the API is",
    "--grpc": "the API is that of OpenAI over HTTP, where every path asks for the key",
    "--api-key": "the deployment makes a key of its own, in a Secret",
    "--hf-token": "input_hugging_face.token_secret_name names a Secret",
    "--ssl-keyfile": "TLS ends before the pods",
    "--ssl-certfile": "TLS ends before the pods",
    "--config": "options from a file cannot be checked",
    "--max-model-len": "recipe_max_model_length says it",
    "--served-model-name": "recipe_served_model_name says it",
    "--trust-remote-code": "recipe_trust_remote_code says it",
    "--tokenizer": "the model's own lies beside it",
    "--download-dir": "the files are staged before vLLM starts",
}
# Options that change what the plan has reckoned with, but break nothing.
_RECKONED = {
    "--max-num-seqs": "the plan's memory is reckoned with vLLM's default",
    "--quantization": "the plan's weights are reckoned as the model's config says",
    "--enforce-eager": "the plan's memory is reckoned with CUDA graphs",
    "--enable-expert-parallel": "the plan's weights are reckoned without it",
}
_SHORT = {"-tp": "--tensor-parallel-size", "-pp": "--pipeline-parallel-size", "-dp": "--data-parallel-size"}


@dataclass(frozen=True)
class Option:
    """One option as it was given: `name` is vLLM's long spelling with hyphens, `words` all that was written."""

    name: str
    words: tuple[str, ...]

    @property
    def value(self) -> str:
        """The option's value; empty for a switch."""
        name, equals, value = self.words[0].partition("=")
        return value if equals else " ".join(self.words[1:])


def options(arguments: Sequence[str]) -> Iterator[Option]:
    """Yield the options of `arguments` with their values; words in front of the first have the name ""."""
    name = ""
    words: list[str] = []
    for argument in arguments:
        if argument.startswith("-") and not _is_number(argument):
            if words:
                yield Option(name, tuple(words))
            name, words = option_name(argument), []
        words.append(argument)
    if words:
        yield Option(name, tuple(words))


def option_name(argument: str) -> str:
    """Return the long spelling: vLLM takes underscores for hyphens, and `--option=value`."""
    name = argument.partition("=")[0]
    name = _SHORT.get(name, name)
    return "--" + name[2:].replace("_", "-") if name.startswith("--") else name


def check_arguments(arguments: Sequence[str], faults: list[Fault], warnings: list[Fault]) -> None:
    """Refuse what would contradict the plan, and warn of what it does not reckon with.

    Values are never shown: one may be a key.
    """
    for option in options(arguments):
        # vLLM takes a part of a name for the name where only one fits.
        derived = next((name for name in _DERIVED if name.startswith(option.name) and len(option.name) > 4), None)
        if not option.name:
            faults.append(
                Fault("argument", PLACE, "a word without an option", "options, such as --max-num-seqs 64", "correct it")
            )
        elif option.name in _DERIVED or derived:
            reason = _DERIVED[option.name if option.name in _DERIVED else str(derived)]
            faults.append(
                Fault("derived_argument", PLACE, option.name, "an option that is not derived", f"take it out: {reason}")
            )
        elif option.name in _RECKONED:
            warnings.append(Fault("argument_not_reckoned", PLACE, f"{option.name}: {_RECKONED[option.name]}"))


def merged(derived: Sequence[str], given: Sequence[str]) -> list[str]:
    """Return vLLM's arguments: the `derived` ones, but for those that `given` says otherwise."""
    names = {option.name for option in options(given)}
    kept = [word for option in options(derived) if option.name not in names for word in option.words]
    return [*kept, *given]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
