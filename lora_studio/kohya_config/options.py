"""Options of sd-scripts' LoRA training as data: names, defaults, and the effect of each here.

The options of `train_network.py` and `sdxl_train_network.py` at version 0.10.2 (March 2026), those of
`flux_train_network.py` for times, losses and `blocks_to_swap`, and `train_inpainting` of later ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lora_studio.config_groups import FLOW_SETTINGS

OPTIONS: Mapping[str, Any] = {
    # base model
    **{"pretrained_model_name_or_path": None, "v2": False, "v_parameterization": False, "vae": None},
    **{"tokenizer_cache_dir": None, "clip_skip": None, "max_token_length": None, "no_half_vae": False},
    **{"disable_mmap_load_safetensors": False, "weighted_captions": False},
    # pictures and captions
    **{"train_data_dir": None, "reg_data_dir": None, "in_json": None, "dataset_config": None},
    **{"dataset_class": None, "dataset_repeats": 1, "debug_dataset": False, "cache_info": False},
    **{"resolution": None, "resize_interpolation": None, "skip_image_resolution": None},
    **{"enable_bucket": False, "min_bucket_reso": 256, "max_bucket_reso": 1024, "bucket_reso_steps": 64},
    **{"bucket_no_upscale": False, "train_batch_size": 1, "caption_extension": ".caption"},
    **{"caption_extention": None, "caption_separator": ",", "secondary_separator": None},
    **{"shuffle_caption": False, "keep_tokens": 0, "keep_tokens_separator": "", "enable_wildcard": False},
    **{"caption_prefix": None, "caption_suffix": None, "caption_dropout_rate": 0.0},
    **{"caption_dropout_every_n_epochs": 0, "caption_tag_dropout_rate": 0.0},
    **{"token_warmup_min": 1, "token_warmup_step": 0, "color_aug": False, "flip_aug": False},
    **{"random_crop": False, "face_crop_aug_range": None, "alpha_mask": False, "masked_loss": False},
    **{"conditioning_data_dir": None, "prior_loss_weight": 1.0, "cache_latents": False},
    **{"cache_latents_to_disk": False, "vae_batch_size": 1, "skip_cache_check": False},
    **{"cache_text_encoder_outputs": False, "cache_text_encoder_outputs_to_disk": False},
    **{"train_inpainting": False},
    # the network
    **{"network_module": None, "network_dim": None, "network_alpha": 1.0, "network_dropout": None},
    **{"network_args": None, "network_weights": None, "dim_from_weights": False},
    **{"network_train_unet_only": False, "network_train_text_encoder_only": False},
    **{"scale_weight_norms": None, "base_weights": None, "base_weights_multiplier": None},
    # learning
    **{"max_train_steps": 1600, "max_train_epochs": None, "learning_rate": 2e-6, "unet_lr": None},
    **{"text_encoder_lr": None, "optimizer_type": "", "optimizer_args": None, "use_8bit_adam": False},
    **{"use_lion_optimizer": False, "max_grad_norm": 1.0, "lr_scheduler": "constant"},
    **{"lr_scheduler_type": "", "lr_scheduler_args": None, "lr_warmup_steps": 0, "lr_decay_steps": 0},
    **{"lr_scheduler_num_cycles": 1, "lr_scheduler_power": 1.0, "lr_scheduler_timescale": None},
    **{"lr_scheduler_min_lr_ratio": None, "gradient_accumulation_steps": 1, "seed": None},
    **{"gradient_checkpointing": False, "cpu_offload_checkpointing": False, "fused_backward_pass": False},
    **{"mixed_precision": "no", "full_fp16": False, "full_bf16": False, "fp8_base": False},
    **{"fp8_base_unet": False, "blocks_to_swap": None},
    # noise and loss
    **{"noise_offset": None, "noise_offset_random_strength": False, "adaptive_noise_scale": None},
    **{"multires_noise_iterations": None, "multires_noise_discount": 0.3, "ip_noise_gamma": None},
    **{"ip_noise_gamma_random_strength": False, "min_snr_gamma": None, "debiased_estimation_loss": False},
    **{"scale_v_pred_loss_like_noise_pred": False, "v_pred_like_loss": None, "zero_terminal_snr": False},
    **{"loss_type": "l2", "huber_schedule": "snr", "huber_c": 0.1, "huber_scale": 1.0},
    **{"min_timestep": None, "max_timestep": None},
    # flow matching, in the scripts of FLUX.1 and its kin
    **{"timestep_sampling": "sigma", "sigmoid_scale": 1.0, "discrete_flow_shift": 3.0},
    **{"weighting_scheme": "uniform", "logit_mean": 0.0, "logit_std": 1.0, "mode_scale": 1.29},
    "guidance_scale": 3.5,
    "model_prediction_type": "raw",  # FLUX.1's default is another one, which doesn't go with its target
    # previews and validation
    **{"sample_prompts": None, "sample_every_n_steps": None, "sample_every_n_epochs": None},
    **{"sample_at_first": False, "sample_sampler": "ddim", "validation_seed": None},
    **{"validation_split": 0.0, "validate_every_n_steps": None, "validate_every_n_epochs": None},
    **{"max_validation_steps": None},
    # files, state, resume
    **{"output_dir": None, "output_name": None, "save_model_as": "safetensors", "save_precision": None},
    **{"save_every_n_steps": None, "save_every_n_epochs": None, "save_n_epoch_ratio": None},
    **{"save_last_n_steps": None, "save_last_n_epochs": None, "save_last_n_steps_state": None},
    **{"save_last_n_epochs_state": None, "save_state": False, "save_state_on_train_end": False},
    **{"resume": None, "skip_until_initial_step": False, "initial_step": None, "initial_epoch": None},
    **{"training_comment": None, "no_metadata": False, "metadata_title": None, "metadata_author": None},
    **{"metadata_description": None, "metadata_license": None, "metadata_tags": None},
    **{"metadata_usage_hint": None, "metadata_thumbnail": None, "metadata_merged_from": None},
    **{"metadata_trigger_phrase": None, "metadata_preprocessor": None},
    **{"metadata_is_negative_embedding": None, "config_file": None, "output_config": False},
    # the machine, logs, other services
    **{"xformers": False, "sdpa": False, "mem_eff_attn": False, "torch_compile": False},
    **{"dynamo_backend": "inductor", "lowram": False, "highvram": False, "max_data_loader_n_workers": 8},
    **{"persistent_data_loader_workers": False, "ddp_timeout": None, "ddp_static_graph": False},
    **{"ddp_gradient_as_bucket_view": False, "deepspeed": False, "zero_stage": 2},
    **{"offload_optimizer_device": None, "offload_optimizer_nvme_path": None},
    **{"offload_param_device": None, "offload_param_nvme_path": None, "zero3_init_flag": False},
    **{"zero3_save_16bit_model": False, "fp16_master_weights_and_gradients": False},
    **{"logging_dir": None, "log_with": None, "log_prefix": None, "log_tracker_name": None},
    **{"log_tracker_config": None, "log_config": False, "wandb_run_name": None, "wandb_api_key": None},
    **{"console_log_level": None, "console_log_file": None, "console_log_simple": False},
    **{"huggingface_repo_id": None, "huggingface_repo_type": None, "huggingface_path_in_repo": None},
    **{"huggingface_token": None, "huggingface_repo_visibility": None, "async_upload": False},
    **{"save_state_to_huggingface": False, "resume_from_huggingface": False},
}
"""Every option with its default; None where there is none."""

PASSED_OVER = frozenset(
    {
        *("xformers", "sdpa", "mem_eff_attn", "torch_compile", "dynamo_backend", "lowram", "highvram"),
        *("max_data_loader_n_workers", "persistent_data_loader_workers", "ddp_timeout", "ddp_static_graph"),
        *("ddp_gradient_as_bucket_view", "deepspeed", "zero_stage", "offload_optimizer_device"),
        *("offload_optimizer_nvme_path", "offload_param_device", "offload_param_nvme_path"),
        *("zero3_init_flag", "zero3_save_16bit_model", "logging_dir", "log_with", "log_prefix"),
        *("log_tracker_name", "log_tracker_config", "log_config", "wandb_run_name", "wandb_api_key"),
        *("console_log_level", "console_log_file", "console_log_simple", "tokenizer_cache_dir"),
        *("no_half_vae", "disable_mmap_load_safetensors", "vae_batch_size", "skip_cache_check"),
        *("cache_info", "cache_latents_to_disk", "cache_text_encoder_outputs_to_disk"),
        *("cpu_offload_checkpointing", "config_file", "output_config", "v2", "sample_at_first"),
        *("sample_sampler", "metadata_trigger_phrase", "save_last_n_epochs_state"),
        *("save_last_n_steps_state", "save_last_n_steps", "save_last_n_epochs"),
        *("save_state", "save_state_on_train_end", "fused_backward_pass", "no_metadata", "metadata_author"),
        *("metadata_description", "metadata_license", "metadata_tags", "metadata_usage_hint"),
        *("metadata_thumbnail", "metadata_merged_from", "metadata_preprocessor"),
        *("metadata_is_negative_embedding", "huggingface_repo_id", "huggingface_repo_type"),
        *("huggingface_path_in_repo", "huggingface_token", "huggingface_repo_visibility", "async_upload"),
        "save_state_to_huggingface",
    }
)
"""Options that do not change what is learned: of the machine, of logs, caches and uploads, of notes in the
file, or facts that the base model itself has. Where we lack one, the run goes on and a sentence names it."""

SECRETS: Mapping[str, str] = {"wandb_api_key": "WANDB_API_KEY", "huggingface_token": "HF_TOKEN"}
"""Options that no record of a run may hold, and the environment variable that does as well."""

OFF_AT_ZERO = frozenset(
    {
        *("min_snr_gamma", "noise_offset", "adaptive_noise_scale", "multires_noise_iterations"),
        *("ip_noise_gamma", "scale_weight_norms", "v_pred_like_loss", "network_dropout", "clip_skip"),
        *("max_token_length", "max_train_epochs", "save_every_n_epochs", "sample_every_n_epochs"),
        *("save_n_epoch_ratio", "save_last_n_steps", "save_last_n_epochs", "initial_step", "initial_epoch"),
        "blocks_to_swap",
    }
)
"""Options that front ends write as 0 when they are off."""

COUNTED_IN_EPOCHS: Mapping[str, str] = {
    "max_train_epochs": "max_train_steps",
    "save_every_n_epochs": "save_every_n_steps",
    "save_n_epoch_ratio": "save_every_n_steps",
    "sample_every_n_epochs": "sample_every_n_steps",
    "validate_every_n_epochs": "validate_every_n_steps",
}
"""Options counted in epochs, and the option that counts the same in steps."""

SHARES_OF_THE_RUN = ("lr_warmup_steps", "lr_decay_steps")
"""Numbers of steps that may also be a share of all steps: below 1, or with a percent sign."""

ABSENT: Mapping[str, Any] = {
    "save_every_n_steps": 0,
    "sample_every_n_steps": 0,
    "optimizer_type": "AdamW",
    "blocks_to_swap": 0,
    "min_timestep": 0,
    "max_timestep": 1000,
    "max_validation_steps": 10_000,
    **{name: OPTIONS[name] for name in FLOW_SETTINGS},
}
"""Values of options that a file leaves out, in our form, where OPTIONS does not have them, or where they are
no options of the scripts of Stable Diffusion."""

OURS_WHEN_ABSENT = frozenset(
    {
        *("caption_extension", "v_parameterization", "resolution", "cache_latents", "cache_latents_to_disk"),
        "cache_text_encoder_outputs",
    }
)
"""Options whose default is ours when the file leaves them out: docs/kohya.md says why."""

NOT_READ = frozenset(
    {
        *("epoch", "noise_offset_type", "stop_text_encoder_training", "no_token_padding", "lowvram"),
        *("learning_rate_te", "learning_rate_te1", "learning_rate_te2", "train_text_encoder", "use_wandb"),
        *("model_type", "ae", "clip_l", "clip_g", "t5xxl", "text_encoder", "text_encoder_batch_size"),
        *("split_mode", "mem_eff_save", "apply_t5_attn_mask"),
        *("fused_optimizer_groups", "blockwise_fused_optimizers", "block_lr", "show_timesteps"),
        *("save_clip", "save_t5xxl", "split_attn", "attn_mode"),
        *("compile", "compile_mode", "compile_backend", "compile_dynamic", "compile_fullgraph"),
    }
)
"""Options that front ends write into such a file and these two scripts do not read: the front ends' own, or
those of sd-scripts' other scripts."""

NETWORK_ARGS: Mapping[str, str] = {
    name: name
    for name in (
        *("conv_dim", "conv_alpha", "rank_dropout", "module_dropout", "loraplus_lr_ratio"),
        *("loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio", "down_lr_weight", "mid_lr_weight"),
        *("up_lr_weight", "block_lr_zero_threshold", "block_dims", "block_alphas", "conv_block_dims"),
        *("conv_block_alphas", "algo", "dora_wd", "factor", "decompose_both", "full_matrix", "constraint"),
        "wd_on_output",
    )
}
"""Keys of `network_args`, of sd-scripts and of LyCORIS, and our names of them."""
OFF_AT_ZERO_ARGS = frozenset(
    {
        *("conv_dim", "loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio"),
    }
)
ARGS_NOT_BUILT = frozenset(
    {
        *(
            "use_scalar",
            "train_norm",
            "rescaled",
            "rs_lora",
            "unbalanced_factorization",
            "unit",
            "block_size",
        ),
        *("enable_conv", "enable_all_linear", "exclude_patterns", "include_patterns", "network_reg_lrs"),
        *("network_reg_dims", "network_reg_alphas", "rank_dropout_scale", "use_tucker", "use_cp"),
        *("use_conv_cp", "train_on_input", "train_norm", "train_blocks", "split_qkv", "train_t5xxl"),
        *("img_attn_dim", "txt_attn_dim", "img_mlp_dim", "txt_mlp_dim", "img_mod_dim", "txt_mod_dim"),
        *("single_dim", "single_mod_dim", "in_dims", "train_double_block_indices", "ggpo_beta"),
        *("train_single_block_indices", "ggpo_sigma", "train_llm_adapter"),
    }
)
"""Keys that stop a run when they are switched on."""
ARGS_OF_ALL_BLOCKS = ("train_blocks", "train_double_block_indices", "train_single_block_indices")
"""Keys that ask for nothing at "all"."""
ARGS_OF_ONE_KIND: Mapping[str, str] = {
    **{"unit": "dylora", "block_size": "dylora", "train_on_input": "ia3"},
    **{"rescaled": "diag-oft", "enable_conv": "oft", "enable_all_linear": "oft"},
}
"""Keys that matter to one kind of network; with others they are switched off."""
ARGS_PASSED_OVER = frozenset({"bypass_mode", "verbose", "preset", "disable_conv_cp", "no_dim_warn"})
"""Keys that do not change what is learned, or that are handled apart."""

PLAIN, LYCORIS = "networks.lora", "lycoris.kohya"
"""The modules of plain LoRA for Stable Diffusion, and of LyCORIS."""
MODULES: Mapping[str, str] = {
    PLAIN: "lora",
    "networks.loha": "loha",
    "networks.lokr": "lokr",
    **{"networks.lora_flux": "lora", "networks.lora_anima": "lora"},
    **{"networks.lora_zimage": "lora", "networks.lora_flux_2": "lora"},
}
"""sd-scripts' own modules that are built here, and their kind; the last two are musubi-tuner's."""
ONLY_IN_LYCORIS = ("algo", "dora_wd")
"""Settings that sd-scripts' own network lacks: away from their defaults, a run needs LyCORIS."""
LYCORIS_ALGOS = {"locon": "lora"}
"""LyCORIS' other names for kinds that we have."""
LYCORIS_PRESETS: Mapping[str, tuple[bool, bool]] = {
    "full": (True, False),
    "attn-mlp": (False, False),
    "unet-only": (True, True),
    "unet-transformer-only": (False, True),
}
"""LyCORIS' sets of layers that are built here: (with convolutions, the denoiser only)."""
