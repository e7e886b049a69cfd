# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Known causes that lie in the settings, the model, or its quantization."""

from __future__ import annotations

from engine_cause import lasting, passing

_OTHER_IMAGE = "use an image with another vLLM (recipe_image_uri)"
_SOURCE = "check the model's folder at the source, then deploy again to stage it again"
_FEWER_GPUS = "use a shape with fewer GPUs a node and more nodes"

CAUSES = (
    # What compilers keep outlives a restart until two tries have failed; their files are none of the model's
    passing(
        r"failed to get the hash of the compiled graph|corrupted compilation artifact"
        r"|(?:FileNotFound|JSONDecode|Unpickling|EOF|UnicodeDecode)Error\b.*"
        r"(?:torch_compile_cache|torchinductor|torch/_(?:inductor|dynamo|functorch)/|\.?triton/|flashinfer/|vllm/compilation/)"
        r"|/(?:torch_compile_cache|torchinductor\w*|torch_extensions|\.?triton|flashinfer)/\S*\.so: "
        r"(?:file too short|cannot open|invalid ELF)",
        "what a compiler kept for later cannot be read", "the caches are emptied after two tries; see the disk if it recurs",
    ),
    passing(
        r"(?:JSONDecode|UnicodeDecode)Error.*\((?:requests|urllib3|aiohttp|httpx|ray)/",
        "another service answered with something else than JSON", "see the lines before it in the pod's log",
    ),
    # Arguments and settings
    lasting(
        r"unrecognized arguments:",
        "the image's vLLM does not take an option that the plan gives it",
        "use an image with a vLLM that knows it, or remove it from recipe_container_command_args",
    ),
    lasting(
        r"^(?:argument|(?:vllm(?: [\w-]+){0,3}|[\w./-]+\.py): (?-i:error)): |ArgumentTypeError|^argument -",
        "the image's vLLM refuses the value of an option", "correct it in recipe_container_command_args",
    ),
    lasting(
        r"invalid (?:tool call|reasoning|tool) parser|(?:tool|reasoning) parser .*(?:not found|not registered)",
        "the image's vLLM does not have the parser that is asked for", "give one of those that the message lists",
    ),
    lasting(
        r"chat template string .* doesn't exist|chat.template.*(?:not found|No such file)",
        "the chat template is not where the option says", "give the path of a file in the model's folder, or the template itself",
    ),
    lasting(
        r"TemplateSyntaxError|jinja2?\.\S*Error",
        "the chat template is no valid Jinja", "correct it at the source, or give another with --chat-template",
    ),
    lasting(
        r"\bVLLM_\w+ '.*' (?:must be|appears to be)|Invalid value '.*' (?:for|in) (?:env\w* \w+|VLLM_)"
        r"|invalid literal for int\(\) with base 10: '(?:tcp|udp)://",
        "an environment variable has a value that vLLM refuses",
        "correct or remove it in recipe_container_env; a Service named vllm sets VLLM_PORT and others",
    ),
    lasting(
        r"LoRA\w* rank|max_lora_rank|add_lora|expected target modules"
        r"|support LoRA|LoRA is not enabled|\bLoRAs? (?:adapter|modules?|weight|resolver)\b"
        r"|No free (?:adapter|lora) slots|number of requested (?:LoRA|model)s"
        r"|No adapter found|adapter_config\.json|Loading lora .*failed|LoRA\w*NotFound",
        "a LoRA adapter cannot be loaded", "check --lora-modules and --max-lora-rank in recipe_container_command_args",
    ),
    lasting(
        r"num_speculative_tokens|speculative[_ -]?config\b|speculators?[ -](?:config|format)|vocab\w* size.*draft|draft.*vocab\w* size",
        "the settings of speculative decoding are refused", "correct --speculative-config in recipe_container_command_args",
    ),
    lasting(
        r"max_model_len .*greater than|longer than the (?:model's )?maximum|max_model_len .*exceeds|maximum allowed sequence length",
        "the context asked for is longer than the model's", "reduce recipe_max_model_length",
    ),
    lasting(
        r"max_num_batched_tokens .*(?:smaller than|must be greater|too small|is larger than max_num_batched)"
        r"|increase max_num_batched_tokens",
        "--max-num-batched-tokens is too small for the other settings", "increase it, or reduce recipe_max_model_length",
    ),
    lasting(
        r"Cannot re-initialize CUDA in forked subprocess",
        "the engine's processes are forked after CUDA has started", "set VLLM_WORKER_MULTIPROC_METHOD=spawn in recipe_container_env",
    ),
    lasting(
        r"Hybrid KV cache manager is disabled but|KV cache specs to one unified type",
        "the model needs the hybrid KV cache manager",
        "remove --disable-hybrid-kv-cache-manager and --kv-transfer-config, or use another model",
    ),
    lasting(
        r"VLLM_PP_LAYER_PARTITION|sum\(partitions\)|len\(partitions\)|Invalid partition string|does not match num_hidden_layers",
        "the layers are not divided as the model has them", "correct or remove VLLM_PP_LAYER_PARTITION in recipe_container_env",
    ),
    lasting(
        r"Pipeline parallelism is not supported for this model",
        "the class of the model, or of its draft model, cannot be divided into pipeline stages",
        "serve it on one node, without the draft model, or use another model",
    ),
    lasting(
        r"not (?:yet )?(?:supported|compatible)(?: together)? with pipeline.parallel"
        r"|pipeline.parallel\w* is not (?:yet )?(?:supported|compatible)"
        r"|requires PP=1|does not support pipeline",
        "an option cannot be combined with pipeline stages", "remove the option that the message names, or serve the model on one node",
    ),
    # The model and its files
    lasting(
        r"contains custom code which must be executed|requires you to execute the (?:configuration|modeling) file"
        r"|(?<!consider setting `)trust_remote_code=True",
        "the model comes with Python code of its own",
        "read that code, and set recipe_trust_remote_code if you trust it to run in the pods",
    ),
    lasting(
        r"model (?:with )?architectures? .*(?:not supported|failed to be inspected)|does not recognize this architecture"
        r"|was supported in vLLM until"
        r"|has no vLLM implementation|Transformers implementation .*not compatible with vLLM|Cannot find model module"
        r"|No module named '?transformers\.models|cannot import name .* from '?transformers"
        r"|No model architectures are specified|Unrecognized configuration class",
        "the image's vLLM does not know the model's architecture", _OTHER_IMAGE,
    ),
    lasting(
        r"Weight files referenced in index but missing|weights were not initialized from checkpoint|Missing keys .* in loaded state"
        r"|tied weight is uninitialized|Could not find checkpoint files|does not contain tensor",
        "weights that this stage needs are not among its files", "check that the model's folder at the source is complete",
    ),
    lasting(
        r"Cannot find any (?:safetensors )?model weights|no (?:file|weights) (?:named|found) .*\.(?:safetensors|bin)",
        "no weights in the format that --load-format asks for are in the model's folder",
        "check the model's folder at the source, and --load-format",
    ),
    lasting(
        r"Error while deserializing header|MetadataIncompleteBuffer|HeaderTooLarge|InvalidHeader|invalid load key"
        r"|PytorchStreamReader failed|inline_container"
        r"|unexpected EOF, expected \d+ more bytes|file in archive is not in a subdirectory|failed finding central directory",
        "a weight file is cut off, or is a git-lfs pointer in place of the file", _SOURCE,
    ),
    lasting(
        r"is not a valid JSON file|JSONDecodeError|UnicodeDecodeError.*utf-8"
        r"|Expecting (?:value|property name|':'|',').*: line \d+ column",
        "a JSON file of the model cannot be read", _SOURCE,
    ),
    lasting(
        r"Tokenizer class \w+ does not exist|untagged enum ModelWrapper|(?:Tokenizer|Processor)\w*\.__init__\(\)"
        r"|(?:Tokenizer|Processor)\w*'?(?: object)? has no attribute",
        "the image's Transformers does not read the model's tokenizer or processor", f"{_OTHER_IMAGE}, or correct tokenizer_config.json",
    ),
    lasting(
        r"Can't load (?:the )?(?:image |feature )?(?:tokenizer|processor)|Couldn't instantiate the backend tokenizer"
        r"|Unable to load vocabulary"
        r"|tokenizer(?!.*\b(?:library|install)\b).*(?:not found|does not exist|cannot be loaded)|No tokenizer file found"
        r"|Failed to load the tokenizer"
        r"|Make sure that a \w+ tokenizer is present",
        "the tokenizer's files are not in the model's folder", "add them to the model's folder at the source, then deploy again",
    ),
    lasting(
        r"GatedRepoError|gated repo|Access to model .* is restricted|401 Client Error|403 Client Error.*huggingface|Invalid user token",
        "Hugging Face refuses the access", "accept the model's terms there, and give a token that may read it",
    ),
    passing(
        r"couldn't connect to 'https://huggingface|offline mode is enabled|OfflineModeIsEnabled|LocalEntryNotFoundError"
        r"|Cannot reach https://huggingface|Max retries exceeded .*huggingface|(?:429|5\d\d) (?:Client|Server) Error.*huggingface",
        "the engine asks Hugging Face for a file that the model's folder does not have",
        "add the file to the model's folder at the source, then deploy again",
    ),
    passing(
        r"HarmonyError|(?:download|load) vocab|openaipublic",
        "the engine asks the Internet for a vocabulary that the image does not have",
        "use an image that holds it (TIKTOKEN_ENCODINGS_BASE), or let the pods reach it",
    ),
    lasting(
        r"Can't load (?:the )?config|Could not detect config format|Failed to load mistral .*config"
        r"|does not appear to have (?:a file|files) named"
        r"|Cannot find the config file for"
        r"|Invalid repository ID or local"
        r"|Repo id must (?:be|use)|is not a valid model identifier|should have a `?\w+_type`? key|RepositoryNotFoundError"
        r"|FileNotFoundError(?!.*(?:/tmp/|/dev/shm|/proc/|/run/|cache)).*\.(?:safetensors|json|bin|pth?|gguf|model|tiktoken|jinja|txt)\b",
        "a file that the engine needs is not in the model's folder", "check that the model's folder at the source is complete",
    ),
    lasting(
        r"There is no module or parameter named|Attempted to load (?:nested )?weight|size mismatch for|shape mismatch .*weight"
        r"|KeyError: '(?:[\w-]+\.)+\w*(?:weight|bias|scale|qzeros|g_idx|packed|lora_[AB]|inv_freq|A_log|sinks)\w*'"
        r"|Tried to load weights of size|Trying to set a tensor of shape|vocab\w* size mismatch"
        r"|shapes cannot be multiplied"
        r"|The (?:expanded )?size of (?:the )?tensor (?:a )?\(\d+\) must match"
        r"|start \(\d+\) \+ length \(\d+\) exceeds dimension size|loaded_weight\.(?:shape|size)"
        r"|param(?:_data)?\.(?:shape|size\(\)) == |weight_shape",
        "the model's tensors are not those that the class and the quantization in config.json ask for",
        f"check quantization_config and architectures in config.json, or {_OTHER_IMAGE}",
    ),
    lasting(
        r"RoPE scaling|Could not determine the number of|does not have `\w+` attribute|\brope_(?:scaling|parameters|theta|type)\b"
        r"|'\w+Config' object has no attribute",
        "config.json lacks, or has otherwise, what the image's vLLM reads in it",
        f"correct config.json at the source, or {_OTHER_IMAGE}",
    ),
    # Quantization and the GPU's capability
    lasting(
        r"expected scalar type \w+ but found|(?:must|to) have the same dtype",
        "the weights and the activations have different types", "give --dtype in recipe_container_command_args, or use another image",
    ),
    lasting(
        r"No valid (?:MLA |prefill |MLA prefill |attention )?(?:attention |prefill )?backend found|Selected backend .* is not valid"
        r"|Head.?size .*(?:not supported|unsupported)|unsupported head.?(?:size|dim)"
        r"|Flash(?:Attention|MLA|Infer(?!\w*Experts| kernels))\w* .*only support"
        r"|KV cache (?:block size|layout)\b.*(?:support|satisf|cannot express)|FlashAttention version not detected"
        r"|flash attention build does not|Sinks are only supported"
        r"|Invalid attention backend"
        r"|No common block size for",
        "no attention kernel fits the GPU, the model's head size and the KV cache's type",
        f"remove --attention-backend and --kv-cache-dtype where they are given, or {_OTHER_IMAGE}",
    ),
    lasting(
        r"fp8e4nv not supported|fp8e4b8 not supported"
        r"|\bFP8 .*(?:requires?|needs|not supported (?:on|by)|only supported)\b.*(?:GPU|capability|\bSM ?_?\d|Hopper|Ada\b|Blackwell)",
        "the GPU has no FP8", "use a shape with newer GPUs, the model in another format, or --kv-cache-dtype auto",
    ),
    lasting(
        r"Bfloat16 is only supported on GPUs|bfloat16 is not supported (?:on|by)",
        "the GPU has no bfloat16", "give --dtype half in recipe_container_command_args, or use a shape with newer GPUs",
    ),
    lasting(
        r"min_thread_[kn]|BLOCK_SIZE_[KN]|per[_ -]partition\b.*divi|evenly divide .*per partition|per-rank .*\balign|MXFP8 .*divisible"
        r"|weight quantization block|divisible by group_size|not aligned with the quantized weight shape"
        r"|not divisible by weight quantization|divisible by .*\b(?-i:block_[kn])\b|divisible by (?:the )?(?:quant\w* )?group.size",
        "the GPUs of a node cut a quantized matrix too fine", _FEWER_GPUS,
    ),
    lasting(
        r"\bUnknown quantization|Quantization method specified in the model config|Unsupported (?:\w*quant\w*|AWQ|GPTQ) config"
        r"|Unsupported num_bits"
        r"|Model quantization method is not specified|Unsupported ModelOpt|Invalid quantization|Unsupported .*quant_algo"
        r"|quantization method .* is deprecated|compressed-tensors compatible scheme|in (?:the model's )?quantization config"
        r"|same quantization"
        r"|hf_quant_config|Sparsity support has been removed|weight_scale .*never loaded|matching target for .*compressed-tensors",
        "the image's vLLM does not read the model's quantization", f"{_OTHER_IMAGE}, or the model in another format",
    ),
    lasting(
        r"quantization (?:method|scheme).*(?:not supported|unsupported)|(?:Min\.?|Minimum) capability"
        r"|requires (?:GPU )?compute capability|(?<!FlashInfer )requires GPUs? with (?:sm|compute)"
        r"|requires an? (?:NVIDIA )?(?:Hopper|Blackwell|Ada|Ampere)|is only supported on (?:GPUs with|Hopper|Blackwell|compute capability)"
        r"|No [\w ]*(?<!attention )(?<!prefill )backend supports|Failed to find a kernel that can implement"
        r"|kernels? (?:are|is) not supported on this",
        "the model's quantization is not for this GPU", "use a shape with newer GPUs, or the model in another format",
    ),
    lasting(
        r"divisible by (?:the )?tensor[ _-]?(?:model[ _-])?parallel|\b\d+ is not divisible by \d+|num_heads .*divisible"
        r"|not divisible by tp_size"
        r"|divisible by tp_size",
        "the model cannot be divided over the GPUs of a node", "use a shape with another number of GPUs",
    ),
)  # fmt: skip
