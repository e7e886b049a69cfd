# SPDX-License-Identifier: GPL-3.0-or-later
"""argparse, by the name that vLLM has for it."""

from vllm.arguments import Parser as FlexibleArgumentParser

__all__ = ["FlexibleArgumentParser"]
