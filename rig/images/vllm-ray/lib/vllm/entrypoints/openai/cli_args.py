# SPDX-License-Identifier: GPL-3.0-or-later
"""The parser of `vllm serve`, where vLLM 0.12 to 0.26 has it."""

from vllm import __version__
from vllm.arguments import Parser, add_options


def make_arg_parser(parser: Parser) -> Parser:
    """Give the parser the options of `vllm serve`."""
    return add_options(parser, __version__)
