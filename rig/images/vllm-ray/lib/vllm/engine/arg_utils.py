# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's configuration from the command line's arguments, by the name that vLLM has for it."""

from __future__ import annotations

import argparse
from types import SimpleNamespace

from vllm import arguments, checkpoint, checks


class AsyncEngineArgs:
    """The arguments of an engine."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options

    @classmethod
    def from_cli_args(cls, args: argparse.Namespace) -> AsyncEngineArgs:
        return cls(arguments.with_defaults(args))

    def create_engine_config(self) -> SimpleNamespace:
        """The configuration, as far as it is asked for; ValueError on what does not fit."""
        config = checkpoint.read_config(self._options.model)
        checks.check(self._options, config)
        layers = checkpoint.text_config(config)["num_hidden_layers"]
        return SimpleNamespace(
            model_config=SimpleNamespace(
                get_total_num_hidden_layers=lambda: layers,
                max_model_len=self._options.max_model_len,
                architecture=(config.get("architectures") or [""])[0],
            ),
            parallel_config=SimpleNamespace(pipeline_parallel_size=self._options.pipeline_parallel_size),
            cache_config=SimpleNamespace(cache_dtype=self._options.kv_cache_dtype),
        )
