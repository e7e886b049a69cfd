# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of `vllm serve`: options by version, unknown ones refused, help as argparse prints it.

The options are those of vLLM 0.22 to 0.32 that serving uses (vllm/engine/arg_utils.py,
entrypoints/launchers/cli_args.py). Where the first version of an option is not known for sure, the table names a late
one: a program that takes the option for granted fails here before it fails on a cluster.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from vllm import __version__

EVER = "0"
DTYPES = ("auto", "bfloat16", "float", "float16", "float32", "half")
CACHE_DTYPES = ("auto", "bfloat16", "float16", "fp8", "fp8_e4m3", "fp8_e5m2")
STRATEGIES = ("lazy", "eager", "prefetch", "torchao")


@dataclasses.dataclass(frozen=True)
class Option:
    """One option: the group it is shown in, its type (bool gives --x and --no-x), and the versions that have it.

    many      it takes several values
    repeated  it may be given several times, with one value each
    """

    name: str
    group: str
    kind: Any = str
    default: Any = None
    choices: tuple[Any, ...] | None = None
    many: bool = False
    repeated: bool = False
    short: str | None = None
    since: str = EVER
    until: str | None = None

    def known(self, version: str) -> bool:
        """Whether vLLM `version` has the option; `until` is the first version that has it no more."""
        here = number(version)
        return number(self.since) <= here and (self.until is None or here < number(self.until))


def number(version: str) -> tuple[int, ...]:
    """A version as numbers, to compare."""
    return tuple(int(part) for part in version.split("+")[0].split(".")[:3] if part.isdigit())


def length(text: str) -> int:
    """A context length: digits, or with a suffix: 8k (thousands), 8K (1024)."""
    factors = {"k": 10**3, "K": 2**10, "m": 10**6, "M": 2**20, "g": 10**9, "G": 2**30}
    if text in ("auto", "-1"):
        return -1
    if text[-1:] in factors:
        return int(float(text[:-1]) * factors[text[-1]])
    return int(text)


def document(text: str) -> Any:
    """A value in JSON."""
    try:
        return json.loads(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"Value {text} cannot be converted to <function loads>.") from None


FRONTEND, MODEL, LOAD = "Frontend", "ModelConfig", "LoadConfig"
PARALLEL, CACHE, SCHEDULER, OTHER = "ParallelConfig", "CacheConfig", "SchedulerConfig", "VllmConfig"
OPTIONS = (
    Option("host", FRONTEND),
    Option("port", FRONTEND, int, 8000),
    Option("uds", FRONTEND),
    Option("uvicorn-log-level", FRONTEND, default="info"),
    Option("disable-uvicorn-access-log", FRONTEND, bool, False),
    Option("disable-access-log-for-endpoints", FRONTEND, since="0.23"),
    Option("allow-credentials", FRONTEND, bool, False),
    Option("allowed-origins", FRONTEND, document),
    Option("allowed-methods", FRONTEND, document),
    Option("allowed-headers", FRONTEND, document),
    Option("api-key", FRONTEND, many=True),
    Option("chat-template", FRONTEND),
    Option("chat-template-content-format", FRONTEND, default="auto"),
    Option("response-role", FRONTEND, default="assistant"),
    Option("ssl-keyfile", FRONTEND),
    Option("ssl-certfile", FRONTEND),
    Option("ssl-ca-certs", FRONTEND),
    Option("enable-ssl-refresh", FRONTEND, bool, False),
    Option("ssl-cert-reqs", FRONTEND, int, 0),
    Option("ssl-ciphers", FRONTEND, since="0.24"),
    Option("root-path", FRONTEND),
    Option("middleware", FRONTEND, repeated=True),
    Option("disable-fastapi-docs", FRONTEND, bool, False),
    Option("enable-auto-tool-choice", FRONTEND, bool, False),
    Option("tool-call-parser", FRONTEND),
    Option("enable-request-id-headers", FRONTEND, bool, False),
    Option("enable-server-load-tracking", FRONTEND, bool, False),
    Option("enable-force-include-usage", FRONTEND, bool, False),
    Option("enable-tokenizer-info-endpoint", FRONTEND, bool, False),
    Option("max-log-len", FRONTEND, int),
    Option("shutdown-timeout", FRONTEND, int, 0, since="0.23"),
    Option("api-server-count", FRONTEND, int, short="-asc"),
    Option("headless", FRONTEND, bool, False),
    Option("model", MODEL),
    Option("served-model-name", MODEL, many=True),
    Option("tokenizer", MODEL),
    Option("tokenizer-mode", MODEL, default="auto"),
    Option("trust-remote-code", MODEL, bool, False),
    Option("dtype", MODEL, default="auto", choices=DTYPES),
    Option("seed", MODEL, int, 0),
    Option("revision", MODEL),
    Option("max-model-len", MODEL, length),
    Option("quantization", MODEL, short="-q"),
    Option("enforce-eager", MODEL, bool, False),
    Option("max-logprobs", MODEL, int, 20),
    Option("generation-config", MODEL, default="auto"),
    Option("override-generation-config", MODEL, document),
    Option("hf-overrides", MODEL, document),
    Option("hf-token", MODEL),
    Option("runner", MODEL, default="auto"),
    Option("model-impl", MODEL, default="auto"),
    Option("enable-sleep-mode", MODEL, bool, False),
    Option("config-format", MODEL, default="auto"),
    Option("load-format", LOAD, default="auto"),
    Option("download-dir", LOAD),
    Option("model-loader-extra-config", LOAD, document),
    Option("safetensors-load-strategy", LOAD, choices=STRATEGIES),
    Option("ignore-patterns", LOAD, many=True),
    Option("use-tqdm-on-load", LOAD, bool, True),
    Option("distributed-executor-backend", PARALLEL, choices=("external_launcher", "mp", "ray", "uni")),
    Option("pipeline-parallel-size", PARALLEL, int, 1, short="-pp"),
    Option("tensor-parallel-size", PARALLEL, int, 1, short="-tp"),
    Option("data-parallel-size", PARALLEL, int, 1, short="-dp"),
    Option("enable-expert-parallel", PARALLEL, bool, False),
    Option("enable-ep-weight-filter", PARALLEL, bool, False, since="0.28"),
    Option("expert-placement-strategy", PARALLEL, default="linear", choices=("linear", "round_robin")),
    Option("disable-custom-all-reduce", PARALLEL, bool, False),
    Option("max-parallel-loading-workers", PARALLEL, int, until="0.30"),
    Option("nnodes", PARALLEL, int, 1),
    Option("node-rank", PARALLEL, int, 0),
    Option("master-addr", PARALLEL, default="127.0.0.1"),
    Option("master-port", PARALLEL, int, 29501),
    Option("distributed-timeout-seconds", PARALLEL, int, since="0.27"),
    Option("cpu-distributed-timeout-seconds", PARALLEL, int, since="0.30"),
    Option("decode-context-parallel-size", PARALLEL, int, 1),
    Option("block-size", CACHE, int),
    Option("gpu-memory-utilization", CACHE, float, 0.9),
    Option("kv-cache-memory-bytes", CACHE, length),
    Option("swap-space", CACHE, float, 4.0, until="0.28"),
    Option("kv-cache-dtype", CACHE, default="auto", choices=CACHE_DTYPES),
    Option("enable-prefix-caching", CACHE, bool, True),
    Option("cpu-offload-gb", CACHE, float, 0.0),
    Option("max-num-batched-tokens", SCHEDULER, length),
    Option("max-num-seqs", SCHEDULER, int),
    Option("max-num-queued-reqs", SCHEDULER, int, since="0.29"),
    Option("long-prefill-token-threshold", SCHEDULER, int, 0),
    Option("scheduling-policy", SCHEDULER, default="fcfs", choices=("fcfs", "priority")),
    Option("enable-chunked-prefill", SCHEDULER, bool),
    Option("async-scheduling", SCHEDULER, bool),
    Option("stream-interval", SCHEDULER, int, 1),
    Option("reasoning-parser", OTHER, default=""),
    Option("limit-mm-per-prompt", OTHER, document),
    Option("mm-processor-kwargs", OTHER, document),
    Option("enable-lora", OTHER, bool),
    Option("max-lora-rank", OTHER, int, 16),
    Option("lora-modules", OTHER, many=True),
    Option("speculative-config", OTHER, document),
    Option("attention-backend", OTHER),
    Option("compilation-config", OTHER, document, short="-O"),
    Option("additional-config", OTHER, document),
    Option("kv-transfer-config", OTHER, document),
    Option("otlp-traces-endpoint", OTHER),
    Option("disable-log-stats", OTHER, bool, False),
    Option("enable-log-requests", OTHER, bool, False),
    Option("disable-log-requests", OTHER, bool, False, until="0.24"),
    Option("aggregate-engine-logging", OTHER, bool, False),
)


class Parser(argparse.ArgumentParser):
    """argparse, as vLLM uses it: underscores in option names are dashes, help comes by group."""

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        words = [_with_dashes(word) for word in (sys.argv[1:] if args is None else args)]
        for word in words:
            if word in ("-h", "--help") or word.startswith("--help="):
                self._help(word.partition("=")[2])
        return super().parse_args(words, namespace)

    def _help(self, topic: str) -> NoReturn:
        """All options for `all`, a group's or an option's for its name, else how to ask."""
        if topic == "all":
            self.print_help()
        elif topic:
            groups = [group for group in self._action_groups if (group.title or "").lower() == topic.lower()]
            actions = [a for a in self._actions if any(topic in option for option in a.option_strings)]
            shown = self._get_formatter()
            for group in groups:
                shown.start_section(group.title)
                shown.add_arguments(group._group_actions)
                shown.end_section()
            shown.add_arguments([] if groups else actions)
            print(shown.format_help() or f'No group or parameter matching "{topic}". Use `--help=all`.')
        else:
            print(f"usage: {self.prog} [model_tag] [options]\n\nConfig Groups:")
            print("\n".join(f"  {group.title}" for group in self._action_groups if group._group_actions))
            print(
                "\nFor full list:            vllm serve --help=all"
                "\nFor a section:            vllm serve --help=ModelConfig"
                "\nFor a flag:               vllm serve --help=max-model-len"
            )
        self.exit(0)


def _with_dashes(word: str) -> str:
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value


def serve_parser(version: str = __version__) -> Parser:
    """The parser of `vllm serve` in `version`."""
    parser = Parser(
        prog="vllm serve",
        usage="vllm serve [model_tag] [options]",
        add_help=False,
        allow_abbrev=False,
    )
    return add_options(parser, version)


def add_options(parser: Parser, version: str) -> Parser:
    """Give a parser what `vllm serve` takes in `version`; the parser."""
    parser.add_argument("model_tag", nargs="?", help="The model tag to serve (optional if specified in config)")
    groups: dict[str, Any] = {}
    for option in OPTIONS:
        if not option.known(version):
            continue
        if option.group not in groups:
            groups[option.group] = parser.add_argument_group(option.group)
        names = [f"--{option.name}"] + ([option.short] if option.short else [])
        if option.kind is bool:
            groups[option.group].add_argument(
                *names, action=argparse.BooleanOptionalAction, default=option.default, help=" "
            )
        elif option.repeated:
            groups[option.group].add_argument(*names, action="append", type=option.kind, help=" ")
        else:
            groups[option.group].add_argument(
                *names,
                type=option.kind,
                default=option.default,
                choices=option.choices,
                nargs="+" if option.many else None,
                help=" ",
            )
    return parser


def parse(words: Sequence[str], version: str = __version__) -> argparse.Namespace:
    """The arguments of `vllm serve`; argparse ends the program (code 2) on what the version does not know."""
    parser = serve_parser(version)
    arguments = parser.parse_args(words)
    arguments.model_tag = arguments.model_tag or arguments.model or "Qwen/Qwen3-0.6B"
    with_defaults(arguments)
    if arguments.headless or arguments.nnodes > 1:
        parser.error("the rig's vllm runs on Ray only: --headless and --nnodes are not imitated")
    if arguments.data_parallel_size != 1:
        parser.error("the rig's vllm does not imitate --data-parallel-size")
    return arguments


def with_defaults(arguments: argparse.Namespace) -> argparse.Namespace:
    """The arguments, with the default of each option that this version does not have."""
    for option in OPTIONS:
        if not hasattr(arguments, option.name.replace("-", "_")):
            setattr(arguments, option.name.replace("-", "_"), option.default)
    return arguments


def given(arguments: argparse.Namespace) -> dict[str, Any]:
    """The arguments that differ from their defaults, as vLLM logs them; no key is shown."""
    defaults = {option.name.replace("-", "_"): option.default for option in OPTIONS}
    changed = {name: value for name, value in sorted(vars(arguments).items()) if value != defaults.get(name)}
    return changed | ({"api_key": ["***"]} if changed.get("api_key") else {})
