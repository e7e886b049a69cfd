# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The list of a model's weights, made from its configuration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ..catalog.families import Family
from .config_fields import Fields
from .layers import Layer, expert_count, is_mla, kv_head_count
from .quantization import Quantization
from .tensors import Inventory, Weight

# Names of an expert's width and of the number of shared experts.
EXPERT_WIDTHS = ("moe_intermediate_size", "expert_intermediate_size", "expert_hidden_dim")
SHARED_COUNTS = ("n_shared_experts", "num_shared_experts", "moe_num_shared_experts", "num_shared_expert")


class Builder:
    """Makes the inventory of one model. Sizes that the configuration lacks are 0: their weights are left out."""

    def __init__(self, text: Fields, model_type: str, family: Family, quantization: Quantization | None) -> None:
        self.text = text
        self.model_type = model_type
        self.family = family
        self.quantization = quantization
        self.hidden = text.size("hidden_size", "n_embd", "d_model")
        self.heads = text.size("num_attention_heads", "n_head", "n_heads", "num_heads")
        self.experts = expert_count(text)
        self.intermediate = text.size("intermediate_size", "ffn_hidden_size", "n_inner") or 4 * self.hidden
        self.shared = text.integer(*SHARED_COUNTS) or 0
        # Llama 4 has another width for the layers without experts.
        self.dense_width = (
            text.size("intermediate_size_mlp") if model_type == "llama4_text" else 0
        ) or self.intermediate
        self._seen: dict[tuple[Any, ...], tuple[Weight, ...]] = {}

    def inventory(
        self, everywhere: tuple[Weight, ...], layers: tuple[Layer, ...], tied: bool, predicted: int
    ) -> Inventory:
        """All weights of the model. predicted: layers for multi-token prediction."""
        vocabulary = self.text.size("vocab_size", "padded_vocab_size")
        embedding = [Weight("model.embed_tokens.weight", vocabulary, self.hidden, "vocabulary")]
        per_layer = self.text.size("hidden_size_per_layer_input")
        rows = self.text.size("vocab_size_per_layer_input") or vocabulary
        if per_layer:
            # Gemma's per-layer embeddings (gemma4.py).
            width = per_layer * len(layers)
            embedding.append(Weight("model.embed_tokens_per_layer.weight", rows, width, "vocabulary"))
            embedding.append(Weight("model.per_layer_model_projection.weight", width, self.hidden, "rows"))
        head = () if tied else (Weight("lm_head.weight", vocabulary, self.hidden, "vocabulary"),)
        return Inventory(
            embedding=tuple(embedding),
            layers=tuple(self.layer(layer) for layer in layers),
            final=(Weight("model.norm.weight", self.hidden),),
            head=head,
            everywhere=everywhere,
            extra=self._prediction(layers, predicted) if 0 < predicted <= 16 else (),
            tied=tied,
            embedding_everywhere=self.family.embedding_everywhere,
            head_everywhere=self.family.head_everywhere,
        )

    def layer(self, layer: Layer) -> tuple[Weight, ...]:
        """The weights of one layer; layers that are alike share one tuple."""
        plain = replace(layer, index=0)
        weights = self._seen.get((plain,))
        if weights is None:
            weights = self._seen[(plain,)] = tuple(self._weights(layer))
        if self.quantization is None or not self.quantization.weight_bits:
            return weights
        converted = tuple(self._is_converted(weight, layer.index) for weight in weights)
        found = self._seen.get((plain, converted))
        if found is None:
            marked = (replace(weight, converted=flag) for weight, flag in zip(weights, converted, strict=True))
            found = self._seen[(plain, converted)] = tuple(marked)
        return found

    def _is_converted(self, weight: Weight, index: int) -> bool:
        quantization = self.quantization
        if quantization is None or weight.columns == 1 or weight.name.endswith((".conv1d.weight", "router.weight")):
            return False
        module = weight.name.rpartition(".")[0]
        # vLLM never converts routers, nor the small projections beside linear attention.
        if module.endswith((".gate", ".wide", "shared_expert_gate", "in_proj_ba", "weights_proj")):
            return False
        if quantization.experts_only and ".experts" not in module:
            return False
        return quantization.converts(f"model.layers.{index}.{module}")

    def _weights(self, layer: Layer) -> Iterator[Weight]:
        if layer.attention == "mla":
            yield from self._latent_attention(layer)
        elif layer.attention == "linear":
            yield from self._linear_attention()
        elif layer.attention == "mamba":
            yield from self._mamba()
        elif layer.attention != "none":
            yield from self._attention(layer)
        if layer.feed_forward == "experts":
            yield from self._experts(layer)
        if layer.feed_forward == "dense" or (layer.feed_forward == "experts" and self.model_type.startswith("gemma4")):
            yield from self._dense(layer)
        norms = self.family.norms + (3 if self.model_type.startswith("gemma4") and self.experts else 0)
        yield Weight("layernorms.weight", self.hidden, count=norms)
        per_layer = self.text.size("hidden_size_per_layer_input")
        if per_layer:
            yield Weight("per_layer_input_gate.weight", per_layer, self.hidden)
            yield Weight("per_layer_projection.weight", self.hidden, per_layer)

    def _attention(self, layer: Layer) -> Iterator[Weight]:
        at = "mixer" if self.model_type == "nemotron_h" else "self_attn"
        gate = self.text.flag("attn_output_gate", True) if self.family.output_gate else False
        queries = self.heads * layer.head_dim * (2 if gate else 1)
        keys, values = layer.kv_heads * layer.head_dim, layer.kv_heads * layer.value_dim
        same = self.text.flag("attention_k_eq_v") and layer.attention == "full"
        yield Weight(f"{at}.q_proj.weight", queries, self.hidden, "rows")
        if not layer.kv_shared:
            yield Weight(f"{at}.k_proj.weight", keys, self.hidden, "heads", heads=layer.kv_heads)
            yield Weight(f"{at}.v_proj.weight", values, self.hidden, "heads", heads=layer.kv_heads, stored=not same)
        yield Weight(f"{at}.o_proj.weight", self.hidden, self.heads * layer.value_dim, "columns")
        qkv_bias, output_bias = self._biases()
        if qkv_bias:
            yield Weight(f"{at}.q_proj.bias", queries, 1, "rows")
            yield Weight(f"{at}.k_proj.bias", keys, 1, "heads", heads=layer.kv_heads)
            yield Weight(f"{at}.v_proj.bias", values, 1, "heads", heads=layer.kv_heads)
        if output_bias:
            yield Weight(f"{at}.o_proj.bias", self.hidden)
        if self.family.head_norms == "head":
            yield Weight(f"{at}.qk_norm.weight", 2 * layer.head_dim)
        elif self.family.head_norms == "full":
            yield Weight(f"{at}.q_norm.weight", self.heads * layer.head_dim, 1, "rows")
            yield Weight(f"{at}.k_norm.weight", keys, 1, "heads", heads=layer.kv_heads)

    def _biases(self) -> tuple[bool, bool]:
        # attention_bias is for all four projections; qkv_bias and add_qkv_bias for the first three.
        every = self.text.optional_flag("attention_bias", "use_bias")
        three = self.text.optional_flag("qkv_bias", "add_qkv_bias", "use_qkv_bias")
        qkv = every if three is None else three
        output = self.family.output_bias if self.family.qkv_bias or every is None else every
        return self.family.qkv_bias if qkv is None else qkv, output

    def _latent_attention(self, layer: Layer) -> Iterator[Weight]:
        rank, rope = self.text.size("kv_lora_rank"), self.text.integer("qk_rope_head_dim") or 0
        nope, value = self.text.size("qk_nope_head_dim"), self.text.size("v_head_dim")
        query_rank = self.text.size("q_lora_rank")
        if query_rank:
            yield Weight("self_attn.q_a_proj.weight", query_rank, self.hidden)
            yield Weight("self_attn.q_a_layernorm.weight", query_rank)
            yield Weight("self_attn.q_b_proj.weight", self.heads * (nope + rope), query_rank, "rows")
        else:
            yield Weight("self_attn.q_proj.weight", self.heads * (nope + rope), self.hidden, "rows")
        yield Weight("self_attn.kv_a_proj_with_mqa.weight", rank + rope, self.hidden)
        yield Weight("self_attn.kv_a_layernorm.weight", rank)
        yield Weight("self_attn.kv_b_proj.weight", self.heads * (nope + value), rank, "rows")
        yield Weight("self_attn.o_proj.weight", self.hidden, self.heads * value, "columns")
        if layer.indexer_bytes:
            index_heads, width = self.text.size("index_n_heads"), self.text.size("index_head_dim")
            yield Weight("self_attn.indexer.wq_b.weight", index_heads * width, query_rank)
            yield Weight("self_attn.indexer.wk_weights_proj.weight", width + index_heads, self.hidden)

    def _linear_attention(self) -> Iterator[Weight]:
        # Gated delta net (vllm/model_executor/layers/mamba/gdn/qwen_gdn_linear_attn.py).
        keys = self.text.size("linear_num_key_heads") * self.text.size("linear_key_head_dim")
        value_heads, value_dim = self.text.size("linear_num_value_heads"), self.text.size("linear_value_head_dim")
        values = value_heads * value_dim
        at = "linear_attn"
        # Qwen3.5 stores queries, keys and values apart from the gate; vLLM has them in one matrix.
        apart = self.model_type.startswith("qwen3_5")
        first, gate = ("in_proj_qkv", "in_proj_z") if apart else ("in_proj_qkvz", "in_proj_qkvz")
        yield Weight(f"{at}.{first}.weight", keys, self.hidden, "rows", 2)
        yield Weight(f"{at}.{first}.weight", values, self.hidden, "rows")
        yield Weight(f"{at}.{gate}.weight", values, self.hidden, "rows")
        yield Weight(f"{at}.in_proj_ba.weight", 2 * value_heads, self.hidden, "rows")
        yield Weight(f"{at}.conv1d.weight", 2 * keys + values, self.text.size("linear_conv_kernel_dim"), "rows")
        yield Weight(f"{at}.out_proj.weight", self.hidden, values, "columns")
        yield Weight(f"{at}.state.weight", 2 * value_heads, 1, "rows")
        yield Weight(f"{at}.norm.weight", value_dim)

    def _mamba(self) -> Iterator[Weight]:
        # vllm/model_executor/layers/mamba/mamba_mixer2.py. One group is repeated on every GPU.
        heads, groups = self.text.size("mamba_num_heads"), self.text.size("n_groups", "mamba_n_groups")
        inner = heads * self.text.size("mamba_head_dim")
        state = groups * self.text.size("ssm_state_size")
        shared = "heads" if groups == 1 else "rows"
        kernel = self.text.size("conv_kernel", "mamba_d_conv")
        yield Weight("mixer.in_proj.weight", 2 * inner + heads, self.hidden, "rows")
        yield Weight("mixer.in_proj_groups.weight", 2 * state, self.hidden, shared, heads=1)
        yield Weight("mixer.conv1d.weight", inner + 2 * state, kernel, "rows")
        yield Weight("mixer.conv1d.bias", inner + 2 * state, 1, "rows")
        yield Weight("mixer.out_proj.weight", self.hidden, inner, "columns")
        yield Weight("mixer.norm.weight", inner, 1, "rows")
        yield Weight("mixer.state.weight", 3 * heads, 1, "rows")

    def _dense(self, layer: Layer) -> Iterator[Weight]:
        at = {"llama4_text": "feed_forward", "nemotron_h": "mixer"}.get(self.model_type, "mlp")
        width = layer.width or self.dense_width
        if self.text.flag("use_double_wide_mlp") and layer.kv_shared:
            width *= 2
        yield from self._matrices(at, width)
        if self.text.flag("mlp_bias", self.family.mlp_bias):
            yield Weight(f"{at}.up_proj.bias", width, 1, "rows", 2 if self.family.gated else 1)
            yield Weight(f"{at}.down_proj.bias", self.hidden)

    def _matrices(self, at: str, width: int, count: int = 1, hidden: int = 0) -> Iterator[Weight]:
        hidden = hidden or self.hidden
        if self.family.gated:
            yield Weight(f"{at}.gate_proj.weight", width, hidden, "rows", count)
        yield Weight(f"{at}.up_proj.weight", width, hidden, "rows", count)
        yield Weight(f"{at}.down_proj.weight", hidden, width, "columns", count)

    def _experts(self, layer: Layer) -> Iterator[Weight]:
        at = "mixer" if self.model_type == "nemotron_h" else self.family.experts_at
        width = self.text.size(*EXPERT_WIDTHS) or self.intermediate
        latent = self.text.size("moe_latent_size")
        router = "router" if self.model_type in ("gpt_oss", "llama4_text") else "gate"
        yield Weight(f"{at}.{router}.weight", self.experts, self.hidden)
        if self.family.router_wide or self.text.text("router_dtype") == "fp32":
            # The other half of 32 bits, which is not in the checkpoint.
            yield Weight(f"{at}.{router}.wide.weight", self.experts, self.hidden, stored=False)
        if self.family.router_bias:
            yield Weight(f"{at}.{router}.bias", self.experts)
        yield from self._matrices(f"{at}.experts.0", width, self.experts, latent)
        if self.family.expert_bias:
            yield Weight(f"{at}.experts.up_proj_bias", 2 * width, 1, "rows", self.experts)
            yield Weight(f"{at}.experts.down_proj_bias", self.hidden, 1, "whole", self.experts)
        if latent:
            yield Weight(f"{at}.fc1_latent_proj.weight", latent, self.hidden)
            yield Weight(f"{at}.fc2_latent_proj.weight", self.hidden, latent)
        shared = self._shared_width(width)
        if shared:
            yield from self._matrices(f"{at}.shared_experts", shared)
            if self.family.shared_gate:
                yield Weight(f"{at}.shared_expert_gate.weight", 1, self.hidden)

    def _shared_width(self, width: int) -> int:
        if self.model_type == "llama4_text":
            return width
        given = self.text.size("shared_expert_intermediate_size", "shared_intermediate_size")
        of_all = self.text.size("moe_shared_expert_intermediate_size")
        return given or self.shared * (of_all or width)

    def _prediction(self, layers: tuple[Layer, ...], count: int) -> tuple[Weight, ...]:
        # Multi-token prediction: the last layer again, with a projection of embedding and hidden state together.
        projection = Weight("mtp.eh_proj.weight", self.hidden, 2 * self.hidden, count=count)
        return (*(replace(weight, count=weight.count * count) for weight in self.layer(layers[-1])), projection)


def latent_copies(text: Fields, model_type: str) -> int:
    """Values of the two absorbed matrices that vLLM makes of each MLA layer's kv_b projection after loading."""
    if not is_mla(text, model_type):
        return 0
    width = text.size("qk_nope_head_dim") + text.size("v_head_dim")
    return text.size("num_attention_heads") * width * text.size("kv_lora_rank")


def key_value_heads(text: Fields, model_type: str) -> int:
    """Key/value heads as the configuration states them, also for MLA."""
    return kv_head_count(text, text.size("num_attention_heads", "n_head", "n_heads", "num_heads"), model_type)
