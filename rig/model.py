# SPDX-License-Identifier: GPL-3.0-or-later
"""A tiny Llama with random weights, in the files that vLLM and transformers load: for the rig's object storage.

`write_tiny_llama` is deterministic: the same arguments give the same bytes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HEADS = 4
KEY_VALUE_HEADS = 2
CONTEXT = 2048
SPECIAL_TOKENS = ("<|begin_of_text|>", "<|end_of_text|>")
INDEX_NAME = "model.safetensors.index.json"
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One weight: its name and shape; two bytes (bfloat16) per element."""

    name: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Size in the file."""
        return 2 * math.prod(self.shape)


def write_tiny_llama(folder: Path, shards: int = 4, layers: int = 4, hidden: int = 64) -> list[str]:
    """Write the model into `folder` and return the names of its files.

    Size grows with the square of `hidden` (a multiple of 8): 64 gives 0.5 MB, 512 about 28 MB with four layers.
    """
    tensors = _tensors(layers, hidden)
    if not 1 <= shards <= len(tensors):
        raise ValueError(f"{shards} shards for {len(tensors)} tensors: give 1 to {len(tensors)}")
    folder.mkdir(parents=True, exist_ok=True)
    weight_map: dict[str, str] = {}
    for number, part in enumerate(_split(tensors, shards), 1):
        name = f"model-{number:05}-of-{shards:05}.safetensors"
        _write_safetensors(folder / name, part)
        weight_map.update(dict.fromkeys((tensor.name for tensor in part), name))
    total = sum(tensor.bytes for tensor in tensors)
    documents: dict[str, Any] = {
        "config.json": _config(layers, hidden),
        "generation_config.json": {"_from_model_config": True, "bos_token_id": 0, "eos_token_id": 1},
        "tokenizer.json": _tokenizer(),
        "tokenizer_config.json": _tokenizer_config(),
        INDEX_NAME: {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))},
    }
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document, indent=2) + "\n")
    return sorted([*documents, *set(weight_map.values())])


def _config(layers: int, hidden: int) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "head_dim": hidden // HEADS,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "initializer_range": 0.02,
        "intermediate_size": 4 * hidden,
        "max_position_embeddings": CONTEXT,
        "mlp_bias": False,
        "num_attention_heads": HEADS,
        "num_hidden_layers": layers,
        "num_key_value_heads": KEY_VALUE_HEADS,
        "rms_norm_eps": 1e-05,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": _vocabulary_size(),
    }


def _tensors(layers: int, hidden: int) -> list[Tensor]:
    """All weights in the order of a Llama checkpoint: embedding, layers, norm, head."""
    keys = hidden * KEY_VALUE_HEADS // HEADS
    vocabulary = _vocabulary_size()
    tensors = [Tensor("model.embed_tokens.weight", (vocabulary, hidden))]
    for layer in range(layers):
        parts = {
            "input_layernorm": (hidden,),
            "self_attn.q_proj": (hidden, hidden),
            "self_attn.k_proj": (keys, hidden),
            "self_attn.v_proj": (keys, hidden),
            "self_attn.o_proj": (hidden, hidden),
            "post_attention_layernorm": (hidden,),
            "mlp.gate_proj": (4 * hidden, hidden),
            "mlp.up_proj": (4 * hidden, hidden),
            "mlp.down_proj": (hidden, 4 * hidden),
        }
        tensors += [Tensor(f"model.layers.{layer}.{name}.weight", shape) for name, shape in parts.items()]
    return [*tensors, Tensor("model.norm.weight", (hidden,)), Tensor("lm_head.weight", (vocabulary, hidden))]


def _split(tensors: list[Tensor], shards: int) -> Iterator[list[Tensor]]:
    """Neighbours together, shards of about the same size, none empty."""
    total = sum(tensor.bytes for tensor in tensors)
    part: list[Tensor] = []
    done = made = 0
    for position, tensor in enumerate(tensors, 1):
        part.append(tensor)
        done += tensor.bytes
        left_tensors, left_shards = len(tensors) - position, shards - made - 1
        if left_shards and (done >= total * (made + 1) / shards or left_tensors == left_shards):
            yield part
            part, made = [], made + 1
    yield part


def _write_safetensors(path: Path, tensors: list[Tensor]) -> None:
    """The safetensors format: length of the header (8 bytes, little-endian), header in JSON, then the tensors."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for tensor in tensors:
        header[tensor.name] = {
            "dtype": "BF16",
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.bytes],
        }
        offset += tensor.bytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors:
            stream.write(_weights(tensor))


def _weights(tensor: Tensor) -> bytes:
    """Bytes of the weights, by its name alone: ones for norms, else random numbers of 1/128 to 1/8, either sign.

    A bfloat16 is the upper half of a float32: sign, 8 bits of exponent, 7 of mantissa. Random bits give sign,
    mantissa and the two lowest bits of the exponent.
    """
    elements = math.prod(tensor.shape)
    if len(tensor.shape) == 1:
        return struct.pack("<H", 0x3F80) * elements
    random = hashlib.shake_256(tensor.name.encode()).digest(2 * elements)
    high = bytes.maketrans(bytes(range(256)), bytes((byte & 0x80) | 0x3C | (byte & 0x01) for byte in range(256)))
    return _interleave(random[:elements], random[elements:].translate(high))


def _interleave(low: bytes, high: bytes) -> bytes:
    result = bytearray(2 * len(low))
    result[0::2], result[1::2] = low, high
    return bytes(result)


def _byte_alphabet() -> list[str]:
    """The printable stand-ins of the 256 bytes that byte-level BPE uses (GPT-2's table), in the order of the bytes."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    spare = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(spare)) for byte in range(256)]


def _merges() -> list[tuple[str, str]]:
    """A few merges, so that common letters come in pairs and words in fewer tokens than bytes."""
    space = _byte_alphabet()[ord(" ")]
    letters = "etaoinshrdlu"
    return [(space, letter) for letter in letters] + [(a, b) for a in letters for b in letters]


def _vocabulary() -> dict[str, int]:
    words = [*SPECIAL_TOKENS, *_byte_alphabet(), *("".join(pair) for pair in _merges())]
    return {word: number for number, word in enumerate(words)}


def _vocabulary_size() -> int:
    """The vocabulary, rounded up to a multiple of 64 as published checkpoints have it."""
    return -(-len(_vocabulary()) // 64) * 64


def _tokenizer() -> dict[str, Any]:
    """A byte-level BPE in the format of Hugging Face's tokenizers library."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": number, "content": text, **flags} for number, text in enumerate(SPECIAL_TOKENS)],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": SPECIAL_TOKENS[0], "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
            ],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {SPECIAL_TOKENS[0]: {"id": SPECIAL_TOKENS[0], "ids": [0], "tokens": [SPECIAL_TOKENS[0]]}},
        },
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": _vocabulary(),
            "merges": [list(pair) for pair in _merges()],
        },
    }


def _tokenizer_config() -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": SPECIAL_TOKENS[0],
        "eos_token": SPECIAL_TOKENS[1],
        "model_max_length": CONTEXT,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
