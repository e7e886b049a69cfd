# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Models that bring a drafter of their own (multi-token prediction), and the class that vLLM runs it with.

Read in vllm/config/speculative.py, hf_config_override.
"""

from __future__ import annotations

from dataclasses import dataclass

# Since then a drafter lies on the last stage alone; before, vLLM wanted it divided like the model, and refused.
DRAFTS_WITH_STAGES_SINCE = "0.31.0"
# Before, a model that drafts for another was refused whatever it was.
DRAFT_MODELS_SINCE = "0.15.0"
# Methods that need no weights: they draft from the request's own tokens.
WITHOUT_WEIGHTS = ("ngram", "ngram_gpu", "suffix")
# Drafters made for one model: a projection of so many of its hidden states, and at least one layer of its width
# (vllm/model_executor/models/llama_eagle.py, llama_eagle3.py).
MADE_FOR_ONE_MODEL = {"eagle": 2, "eagle3": 3}


@dataclass(frozen=True)
class Drafter:
    """name: class in vLLM's registry; depth: tokens that it drafts at a time where the recipe does not say."""

    name: str
    depth: int = 1


# By model_type of the text part. Depths: the model cards' own advice where there is one.
DRAFTERS = {
    "deepseek_v3": Drafter("DeepSeekMTPModel"),
    "deepseek_v32": Drafter("DeepseekV32MTPModel"),
    "glm_moe_dsa": Drafter("DeepseekV32MTPModel"),
    "glm4_moe": Drafter("Glm4MoeMTPModel"),
    "glm4_moe_lite": Drafter("Glm4MoeLiteMTPModel"),
    "ernie4_5_moe": Drafter("ErnieMTPModel"),
    "nemotron_h": Drafter("NemotronHMTPModel"),
    "qwen3_next": Drafter("Qwen3NextMTP", 2),
    "qwen3_5": Drafter("Qwen3_5MTP", 2),
    "qwen3_5_text": Drafter("Qwen3_5MTP", 2),
    "qwen3_5_moe_text": Drafter("Qwen3_5MoeMTP", 2),
    "mimo": Drafter("MiMoMTPModel"),
}
