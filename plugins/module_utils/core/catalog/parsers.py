# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How models write tool calls and their reasoning, and the parser of vLLM that reads it.

Only families of which the configuration tells it without doubt: the wrong parser of reasoning would take the answer for
reasoning. Read in vLLM's documentation ("Tool Calling", "Reasoning Outputs") and in vllm/tool_parsers, vllm/reasoning.
"""

from __future__ import annotations

# By model_type of the text part: names of --tool-call-parser, the first that the image's vLLM has is taken.
TOOL_CALLS: dict[str, tuple[str, ...]] = {
    "llama": ("llama3_json",),
    "llama4_text": ("llama4_pythonic",),
    "qwen2": ("hermes",),
    "qwen3": ("hermes",),
    "qwen3_5": ("qwen3_coder",),
    "qwen3_5_text": ("qwen3_coder",),
    "qwen3_5_moe_text": ("qwen3_coder",),
    "deepseek_v32": ("deepseek_v32",),
    "kimi_k2": ("kimi_k2",),
    "glm4_moe": ("glm45",),
    "gpt_oss": ("openai",),
    "minimax_m2": ("minimax_m2",),
    "seed_oss": ("seed_oss",),
    "hunyuan_v1_moe": ("hunyuan_a13b",),
    "granite": ("granite",),
    "olmo3": ("olmo3",),
    "ernie4_5_moe": ("ernie45",),
}
# The same for --reasoning-parser.
REASONING: dict[str, tuple[str, ...]] = {
    "glm4_moe": ("glm45",),
    "gpt_oss": ("openai_gptoss",),
    "minimax_m2": ("minimax_m2",),
    "seed_oss": ("seed_oss",),
    "qwen3_5": ("qwen3",),
    "qwen3_5_text": ("qwen3",),
    "qwen3_5_moe_text": ("qwen3",),
}
