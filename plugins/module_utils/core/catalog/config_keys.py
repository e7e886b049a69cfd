# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Fields of a config.json that change neither the weights nor the cache of the families that the planner knows.

Every other field is either read or makes the plan uncertain, with its name. Names from the configuration classes of
Transformers 5 and from published configurations; what a field does was read in the classes of vLLM.
"""

from __future__ import annotations

_WORDS = """
_name_or_path _attn_implementation _attn_implementation_internal _commit_hash transformers_version auto_map
architectures model_type torch_dtype dtype torchscript use_bfloat16 use_cache return_dict return_dict_in_generate
output_attentions output_hidden_states output_scores output_router_logits num_logits_to_keep problem_type
finetuning_task id2label label2id num_labels task_specific_params tokenizer_class prefix pruned_heads
is_decoder is_encoder_decoder tie_encoder_decoder cross_attention_hidden_size add_cross_attention
chunk_size_feed_forward tf_legacy_loss pretraining_tp gradient_checkpointing unsloth_fixed unsloth_version
"""
_GENERATION = """
bos_token_id eos_token_id eod_token_id pad_token_id sep_token_id decoder_start_token_id forced_bos_token_id forced_eos_token_id
bad_words_ids suppress_tokens begin_suppress_tokens do_sample early_stopping diversity_penalty temperature top_k top_p
typical_p repetition_penalty length_penalty max_length min_length max_new_tokens num_beams num_beam_groups
num_return_sequences no_repeat_ngram_size encoder_no_repeat_ngram_size exponential_decay_length_penalty
remove_invalid_values
"""
_TOKENS = """
image_token_id image_token_index video_token_id video_token_index audio_token_id boi_token_id eoi_token_id
boi_token_index eoi_token_index boa_token_id eoa_token_id eoa_token_index vision_start_token_id vision_end_token_id
vision_token_id image_start_token_id image_end_token_id video_start_token_id video_end_token_id ignore_index
media_placeholder_token_id video_placeholder image_placeholder image_break_token_id image_seq_length
use_unified_vision_chunk mm_tokens_per_image vision_soft_tokens_per_image
"""
# Arithmetic: functions, scales, rotary embedding, normalization. Norms, biases and other single vectors are below 0.1 %;
# those that matter are read where they do.
_ARITHMETIC = """
attention_bias mlp_bias use_bias use_conv_bias mamba_proj_bias mamba_conv_bias attention_out_bias
mamba_dt_min mamba_dt_max mamba_dt_limit mamba_dt_init_floor mamba_chunk_size mamba_expand
hidden_act hidden_activation mlp_hidden_act activation_function act_fn swiglu_limit swiglu_alpha
rms_norm_eps layer_norm_eps layer_norm_epsilon norm_eps layernorm_epsilon rope_theta rope_scaling rope_parameters
rope_local_base_freq rope_traditional rope_interleave rope_ratio rotary_dim rotary_pct rotary_emb_base
partial_rotary_factor max_window_layers
use_mrope mrope_section attention_dropout attn_pdrop resid_pdrop resid_dropout embd_pdrop hidden_dropout
hidden_dropout_prob embedding_dropout dropout attention_probs_dropout_prob classifier_dropout residual_dropout
initializer_range initializer_factor final_logit_softcapping attn_logit_softcapping query_pre_attn_scalar
logit_scale logits_scaling embedding_multiplier attention_multiplier residual_multiplier attn_scale floor_scale
attn_temperature_tuning scale_emb scale_depth dim_model_base mup_denominator clip_qkv qk_layernorm use_qk_norm
qk_norm_type use_gemma_norm layer_norm_bias no_bias bias use_sliding_window use_bidirectional_attention
initial_context_length qk_head_dim time_step_limit time_step_min time_step_max time_step_floor
time_step_rank mamba_hidden_act residual_in_fp32 rescale_prenorm_residual use_mamba_kernels chunk_size expand
apply_residual_connection_post_layernorm parallel_attn alibi new_decoder_architecture multi_query
use_parallel_residual is_causal cache_implementation for_llm_class use_rms_norm _sliding_window_pattern
norm_head norm_softmax use_rope nope_layer_interval no_rope_layer_interval no_rope_layers use_rmsnorm output_dropout
norm_epsilon activation emb_pdrop attention_value_scale original_max_position_embeddings lm_head_bias
num_ln_in_parallel_attn enable_moe_fp32_combine router_scaling_factor qk_norm post_norm position_embedding_type
"""
# Read by no class of any vLLM; they stand in published configurations.
_UNREAD = """
anyres_pooling_size dense_list group_limited_greedy layer_switch moe_drop_tokens moe_gate moe_layer_num_skipped
moe_random_routing_dropped_token num_media_embeds order_of_interleaved_layers position_embedding_xdrope
reorder_and_qk_norm use_embedding_sharing use_gated_activation use_parallel_block use_parallel_embedding
use_rotary_pos_emb
"""
# How tokens go to experts: it moves work, not weights.
_ROUTING = """
num_experts_per_tok num_experts_per_token experts_per_token top_k_experts moe_top_k moe_topk moe_k norm_topk_prob
scoring_func topk_group topk_method n_group num_expert_group use_grouped_topk routed_scaling_factor router_aux_loss_coef
router_jitter_noise input_jitter_noise router_dtype moe_router_dtype moe_router_scaling_factor moe_router_activation_func
moe_renormalize use_routing_bias use_moe_router_bias aux_loss_alpha seq_aux ep_size shared_expert_overlap
moe_shared_expert_overlap moe_router_enable_expert_bias route_norm route_scale score_function moe_capacity
moe_use_aux_free moe_aux_loss_coef moe_norm_min output_router_weights router_bias_update_speed
indexer_rope_interleave index_share_for_mtp_iteration use_expert_bias moe_router_use_sigmoid
"""
# Of multi-token prediction, whose layers are counted by another field.
_PREDICTION = """
use_mtp mtp_use_dedicated_embeddings mtp_transformer_layers mtp_layers_block_type mtp_hybrid_override_pattern
mtp_loss_scaling_factor
"""
HARMLESS = frozenset((_WORDS + _GENERATION + _TOKENS + _ARITHMETIC + _UNREAD + _ROUTING + _PREDICTION).split())

# Of a vision tower whose class is known.
_OF_VISION = """
attention_bias head_dim num_key_value_heads global_head_dim max_position_embeddings window_size fullatt_block_indexes
spatial_patch_size tokens_per_second default_output_length pooling_kernel_size standardize use_clipped_linears
video_seq_length vision_feature_layer vision_feature_select_strategy vision_use_head projection_dim
deepstack_visual_indexes merge_type mm_projector_type pos_emb_type projector_hidden_act projector_ln_eps
video_attn_type pixel_shuffle_ratio multi_modal_projector_bias projector_input_dim projector_output_dim rope_type
num_image_tokens text_hidden_size mm_hidden_size attention_type hidden_stride norm_type qkv_bias vocab_size
intermediate_layers_indices supported_aspect_ratios max_aspect_ratio_id max_num_tiles init_pos_emb_time
"""
HARMLESS_VISION = HARMLESS | frozenset(_OF_VISION.split())
# Of the part of a multimodal configuration beside text and vision.
_OF_TOP = """
vision_feature_layer vision_feature_select_strategy projector_hidden_act multimodal_projector_bias spatial_merge_size
projector_ln_eps mm_projector_type
"""
HARMLESS_TOP = HARMLESS | frozenset(_OF_TOP.split())
# Of a quantization: how it was made, and what is computed at run time.
_OF_QUANTIZATION = """
quant_method fmt format activation_scheme scale_fmt producer version quantization_status global_compression_ratio
zero_point desc_act sym true_sequential damp_percent static_groups model_name_or_path model_file_base_name
checkpoint_format meta modules_in_block_to_quantize backend is_marlin_format quant_type sparsity_config
transform_config iters nsamples seqlen batch_size gradient_accumulate_steps low_gpu_mem_usage autoround_version
enable_quanted_input amp lr minmax_lr scale_dtype dataset packing_format packed_modules_mapping has_zero_point
input_activations output_activations targets observer observer_kwargs actorder scale_dtype zp_dtype symmetric
exclude_modules ignore ignored_layers modules_to_not_convert activation_scale_ub
"""
HARMLESS_QUANTIZATION = frozenset(_OF_QUANTIZATION.split())
