"""Presets with the keys and forms that the kohya_ss GUI writes, over its versions; the values are our own."""

from __future__ import annotations

from typing import Any

OLD: dict[str, Any] = {
    **{"adaptive_noise_scale": 0, "additional_parameters": "", "block_alphas": "", "block_dims": ""},
    **{"block_lr_zero_threshold": "", "bucket_no_upscale": True, "bucket_reso_steps": 1, "color_aug": False},
    **{"cache_latents": True, "cache_latents_to_disk": True, "caption_dropout_every_n_epochs": 0.0},
    **{"caption_dropout_rate": 0, "caption_extension": ".none-use-foldername", "clip_skip": "1"},
    **{"conv_alpha": 4, "conv_alphas": "", "conv_dim": 4, "conv_dims": "", "decompose_both": False},
    **{"dim_from_weights": False, "down_lr_weight": "", "enable_bucket": True, "epoch": 3, "factor": -1},
    **{"flip_aug": False, "full_fp16": False, "gradient_accumulation_steps": 1.0, "keep_tokens": "0"},
    **{"gradient_checkpointing": False, "learning_rate": "0.0002", "lora_network_weights": ""},
    **{"lr_scheduler": "cosine", "lr_scheduler_num_cycles": "", "lr_scheduler_power": "", "lr_warmup": "10"},
    **{"max_data_loader_n_workers": "0", "max_resolution": "512,650", "max_token_length": "75"},
    **{"max_train_epochs": "", "mem_eff_attn": False, "mid_lr_weight": "", "min_snr_gamma": 5},
    **{"mixed_precision": "bf16", "module_dropout": 0, "multires_noise_discount": 0.2, "log_with": ""},
    **{"multires_noise_iterations": 6, "network_alpha": 8, "network_dim": 16, "network_dropout": 0},
    **{"no_token_padding": False, "noise_offset": "0.05", "noise_offset_type": "Multires", "unit": 1},
    **{"num_cpu_threads_per_process": 2, "optimizer": "AdamW8bit", "optimizer_args": "", "up_lr_weight": ""},
    **{"persistent_data_loader_workers": False, "prior_loss_weight": 1.0, "random_crop": False, "seed": ""},
    **{"rank_dropout": 0, "save_every_n_epochs": 1, "save_every_n_steps": 0, "save_last_n_steps": 0},
    **{"save_last_n_steps_state": 0, "save_precision": "fp16", "scale_v_pred_loss_like_noise_pred": False},
    **{"scale_weight_norms": 0, "shuffle_caption": False, "stop_text_encoder_training": 0, "v2": False},
    **{"text_encoder_lr": "5e-05", "train_batch_size": 2, "train_on_input": True, "training_comment": ""},
    **{
        "unet_lr": 0.0001,
        "use_cp": False,
        "v_parameterization": False,
        "vae_batch_size": 0,
        "xformers": True,
    },
    **{"weighted_captions": False, "LoRA_type": "Standard"},
}
"""As of 2023: numbers as text, no folders."""

NEW: dict[str, Any] = {
    **OLD,
    **{"async_upload": False, "bypass_mode": False, "constrain": 0.0, "dataset_config": "", "dora_wd": False},
    **{
        "bucket_reso_steps": 64,
        "caption_extension": ".txt",
        "clip_skip": 2,
        "debiased_estimation_loss": False,
    },
    **{"dynamo_backend": "no", "dynamo_mode": "default", "dynamo_use_dynamic": False, "gpu_ids": ""},
    **{"extra_accelerate_launch_args": "", "fp8_base": False, "full_bf16": False, "huber_c": 0.1},
    **{"huber_schedule": "snr", "huggingface_repo_id": "", "huggingface_token": "", "ip_noise_gamma": 0},
    **{
        "ip_noise_gamma_random_strength": False,
        "keep_tokens": 0,
        "learning_rate": 0.0001,
        "log_config": False,
    },
    **{"log_tracker_config": "", "logging_dir": "./log", "loss_type": "l2", "lr_scheduler_args": ""},
    **{"lr_scheduler_num_cycles": 1, "lr_scheduler_power": 1, "lr_scheduler_type": "", "lr_warmup": 0},
    **{"lr_warmup_steps": 0, "LyCORIS_preset": "full", "main_process_port": 0, "masked_loss": False},
    **{"max_bucket_reso": 2048, "max_data_loader_n_workers": 0, "max_grad_norm": 1, "max_timestep": 1000},
    **{"max_resolution": "512,512", "max_token_length": 75, "max_train_epochs": 0, "max_train_steps": 0},
    **{"metadata_author": "", "metadata_title": "", "min_bucket_reso": 256, "min_timestep": 0},
    **{"model_list": "custom", "multi_gpu": False, "num_machines": 1, "num_processes": 1, "rescaled": False},
    **{"noise_offset": 0.05, "noise_offset_random_strength": False, "noise_offset_type": "Original"},
    **{"output_dir": "./out", "output_name": "gui lora", "pretrained_model_name_or_path": "starter"},
    **{"rank_dropout_scale": False, "reg_data_dir": "", "resume": "", "resume_from_huggingface": ""},
    **{
        "sample_every_n_epochs": 0,
        "sample_every_n_steps": 0,
        "sample_prompts": "",
        "sample_sampler": "euler_a",
    },
    **{"save_as_bool": False, "save_model_as": "safetensors", "save_state": False, "sdxl": False, "seed": 7},
    **{
        "sdxl_cache_text_encoder_outputs": False,
        "sdxl_no_half_vae": True,
        "t5xxl_lr": 0,
        "train_norm": False,
    },
    **{"text_encoder_lr": 0.00005, "train_data_dir": "./img", "train_on_input": False, "use_scalar": False},
    **{"use_tucker": False, "v_pred_like_loss": 0, "vae": "", "wandb_api_key": "", "wandb_run_name": ""},
    **{"flux1_checkbox": False, "sd3_checkbox": False, "loraplus_lr_ratio": 0, "xformers": "xformers"},
    **{"unet_lr": 0.0001},
}
"""As of 2024 to 2026: everything is written, also what is off."""


def preset(kind: str, *, old: bool = False, **changes: Any) -> dict[str, Any]:
    return {**(OLD if old else NEW), "LoRA_type": kind, **changes}


def toml_of_gui(*network_args: str, module: str = "lycoris.kohya", **changes: Any) -> dict[str, Any]:
    """The options of the TOML that the GUI hands to sd-scripts: what is 0, False or empty is left out,
    `epoch` and `noise_offset_type` are always there, and `network_args` names also what is off."""
    options: dict[str, Any] = {
        **{
            "bucket_no_upscale": True,
            "bucket_reso_steps": 64,
            "cache_latents": True,
            "caption_extension": ".txt",
        },
        **{"clip_skip": 2, "dynamo_backend": "no", "enable_bucket": True, "epoch": 4, "huber_c": 0.1},
        **{
            "gradient_accumulation_steps": 1,
            "huber_schedule": "snr",
            "learning_rate": 0.0001,
            "huber_scale": 1,
        },
        **{"logging_dir": "./log", "loss_type": "l2", "lr_scheduler": "cosine", "lr_scheduler_args": []},
        **{"lr_scheduler_num_cycles": 1, "lr_scheduler_power": 1, "lr_warmup_steps": 0.1},
        **{"max_bucket_reso": 2048, "max_data_loader_n_workers": 0, "max_grad_norm": 1, "max_timestep": 1000},
        **{"max_token_length": 75, "max_train_steps": 240, "min_bucket_reso": 256, "mixed_precision": "bf16"},
        **{
            "network_alpha": 8,
            "network_args": list(network_args),
            "network_dim": 16,
            "network_module": module,
        },
        **{
            "noise_offset": 0.05,
            "noise_offset_type": "Original",
            "optimizer_args": [],
            "output_dir": "./out",
        },
        **{"optimizer_type": "AdamW8bit", "output_name": "gui lora", "prior_loss_weight": 1, "seed": 7},
        **{"pretrained_model_name_or_path": "starter", "resolution": "512,512", "sample_sampler": "euler_a"},
        **{"sample_prompts": "./out/sample/prompt.txt", "save_every_n_epochs": 1, "save_precision": "fp16"},
        **{"save_model_as": "safetensors", "text_encoder_lr": [0.00005, 0.00005], "train_batch_size": 2},
        **{"train_data_dir": "./img", "unet_lr": 0.0001, "wandb_run_name": "gui lora", "xformers": True},
    }
    return {**options, **changes}


LYCORIS_OFF = (
    *("preset=full", "conv_dim=4", "conv_alpha=2", "use_tucker=False", "rank_dropout=0", "bypass_mode=False"),
    *("dora_wd=False", "module_dropout=0", "use_tucker=False", "use_scalar=False"),
    *("rank_dropout_scale=False", "train_norm=False"),
)
