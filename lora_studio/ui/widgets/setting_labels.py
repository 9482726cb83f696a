"""Plain names of the settings of a training, and the search among them."""

from __future__ import annotations

from collections.abc import Mapping

from lora_studio.config import Leaf
from lora_studio.ui.languages.translation import translated
from lora_studio.ui.widgets.form_sections import Section, sectioned_leaves, shown_leaves

LABELS: Mapping[str, str] = {
    # Always in sight
    "resolution": "Size of the training pictures",
    "train_batch_size": "Pictures in one step",
    "network_dim": "Rank",
    "max_train_steps": "Steps",
    "learning_rate": "Learning rate",
    "lr_scheduler": "Course of the learning rate",
    "seed": "Seed",
    # Base model
    "train_distilled": "Train a base that looks distilled",
    "v_parameterization": "v-prediction",
    "clip_skip": "Text layers left out",
    "max_token_length": "Longest caption",
    "weighted_captions": "Weights in captions",
    "mixed_precision": "Number format",
    "fp8_base_unet": "Base in 8 bits",
    "qtype": "Kind of the 8 bits",
    "qtype_te": "Text encoders in fewer bits",
    "blocks_to_swap": "Blocks kept in the machine's memory",
    # Pictures
    "num_repeats": "Repeats of each picture",
    "resolution_height": "Height, where it differs",
    "enable_bucket": "Keep the pictures' shapes",
    "min_bucket_reso": "Shortest side",
    "max_bucket_reso": "Longest side",
    "bucket_reso_steps": "Sides are multiples of",
    "bucket_no_upscale": "Never enlarge pictures",
    "resize_interpolation": "Scaling of pictures",
    "flip_aug": "Mirror pictures",
    "color_aug": "Vary the colours",
    "random_crop": "Cut at random places",
    "face_crop_aug_range": "Cut around the face",
    "alpha_mask": "Learn only what is opaque",
    # Captions
    "caption_prefix": "Words before each caption",
    "caption_suffix": "Words after each caption",
    "caption_separator": "Sign between parts of a caption",
    "secondary_separator": "Sign between parts that stay together",
    "enable_wildcard": "Choices in captions",
    "caption_dropout_rate": "Steps without caption",
    "caption_dropout_every_n_epochs": "Rounds without captions",
    "caption_tag_dropout_rate": "Parts of captions left out",
    "shuffle_caption": "Shuffle the parts of captions",
    "keep_tokens": "First parts that stay in place",
    "keep_tokens_separator": "Mark behind parts that stay in place",
    "token_warmup_min": "Parts that the first step sees",
    "token_warmup_step": "All parts from this step on",
    # LoRA
    "network_alpha": "Alpha",
    "conv_dim": "Rank of convolutions",
    "conv_alpha": "Alpha of convolutions",
    "network_dropout": "Dropout",
    "rank_dropout": "Dropout of ranks",
    "module_dropout": "Dropout of layers",
    "scale_weight_norms": "Largest change of a layer",
    "network_train_unet_only": "Leave the text encoder as it is",
    "network_train_text_encoder_only": "Leave the denoiser as it is",
    # Other kinds of networks
    "algo": "Kind of network",
    "dora_wd": "DoRA",
    "wd_on_output": "DoRA's magnitudes at the outputs",
    "factor": "LoKr: size of the smaller matrix",
    "decompose_both": "LoKr: a rank for both matrices",
    "full_matrix": "LoKr: no rank at all",
    "constraint": "Diag-OFT: farthest turn",
    # Block by block
    "block_dims": "Ranks by block",
    "block_alphas": "Alphas by block",
    "conv_block_dims": "Ranks of convolutions by block",
    "conv_block_alphas": "Alphas of convolutions by block",
    "down_lr_weight": "Rates of the first half",
    "mid_lr_weight": "Rate of the middle",
    "up_lr_weight": "Rates of the second half",
    "block_lr_zero_threshold": "No LoRA up to this rate",
    "loraplus_lr_ratio": "LoRA+",
    "loraplus_unet_lr_ratio": "LoRA+ of the denoiser",
    "loraplus_text_encoder_lr_ratio": "LoRA+ of the text encoder",
    # Learning
    "unet_lr": "Learning rate of the denoiser",
    "text_encoder_lr": "Learning rate of the text encoder",
    "optimizer_type": "Optimizer",
    "optimizer_args": "Arguments of the optimizer",
    "weight_decay": "Weight decay",
    "gradient_accumulation_steps": "Batches in one step",
    "gradient_checkpointing": "Less memory, more time",
    "max_grad_norm": "Longest gradient",
    # Course of the learning rate
    "lr_warmup_steps": "Warm-up",
    "lr_decay_steps": "Fall at the end",
    "lr_scheduler_num_cycles": "Restarts",
    "lr_scheduler_power": "Power",
    "lr_scheduler_timescale": "Time scale",
    "lr_scheduler_min_lr_ratio": "Lowest rate",
    "lr_scheduler_args": "Arguments of the course",
    # Noise
    "zero_terminal_snr": "Noise without any picture left",
    "noise_offset": "Shift of the noise",
    "noise_offset_random_strength": "Shift of the noise at random",
    "adaptive_noise_scale": "Shift by the picture's mean",
    "multires_noise_iterations": "Coarser noise",
    "multires_noise_discount": "Coarser noise is weaker by",
    "ip_noise_gamma": "Disturbed input",
    "ip_noise_gamma_random_strength": "Disturbed input at random",
    "min_timestep": "Least noise",
    "max_timestep": "Most noise",
    "timestep_sampling": "Draw of the time",
    "sigmoid_scale": "Spread of the time",
    "discrete_flow_shift": "Shift of the time",
    "weighting_scheme": "Weights of the times",
    "logit_mean": "Middle of the times",
    "logit_std": "Width of the times",
    "mode_scale": "Preference for the middle",
    "model_prediction_type": "What the model predicts",
    "guidance_scale": "Guidance while training",
    # Loss
    "min_snr_gamma": "Min-SNR",
    "debiased_estimation_loss": "Debiased estimation",
    "scale_v_pred_loss_like_noise_pred": "v-prediction weighted as noise",
    "v_pred_like_loss": "Noise weighted as v-prediction",
    "loss_type": "Kind of loss",
    "huber_schedule": "Border of Huber's loss by noise",
    "huber_c": "Border of Huber's loss",
    "huber_scale": "Factor on Huber's border",
    # Previews
    "sample_prompts": "Prompts of the previews",
    "sample_every_n_steps": "Steps between previews",
    "max_preview_share": "Share of time for previews",
    "sample_steps": "Denoising steps of a preview",
    "sample_guidance": "Guidance of a preview",
    "sample_seed": "Seed of the previews",
    "checkpoint_board": "Compare the checkpoints at the end",
    "result_pictures": "Pictures drawn when it is ready",
    # Validation
    "validation_split": "Share of pictures held back",
    "validation_seed": "Seed of the pictures held back",
    "validate_every_n_steps": "Steps between measurements",
    "max_validation_steps": "Pictures measured each time",
    # File
    "save_every_n_steps": "Steps between checkpoints",
    "save_state_every_n_steps": "Steps between states",
    "save_state_every_n_minutes": "Minutes between states",
    "save_precision": "Number format of the file",
    "training_comment": "Note in the file",
    # Caches
    "cache_latents": "Encode pictures once",
    "cache_latents_to_disk": "Keep encoded pictures on the disk",
    "vae_batch_size": "Pictures encoded at once",
    "cache_text_encoder_outputs": "Encode captions once",
    # Where it runs
    "worker": "Where it runs",
    "num_processes": "Graphics cards at once",
    "cpu_data_parallel": "A core for each picture of a step",
}
"""A label for each setting of the form, by Kohya's name."""
MOST_FOUND = 12


def label_of(leaf: Leaf) -> str:
    return LABELS.get(leaf.name, leaf.name)


def found_settings(query: str) -> list[tuple[Leaf, Section | None]]:
    """The settings that fit a search best, each with its section, None for those in sight: those with all its
    words in label or name come before those with some of them only in the help."""
    words = query.lower().replace("_", " ").split()[:8]
    if not words:
        return []
    every: list[tuple[Leaf, Section | None]] = [(leaf, None) for leaf in shown_leaves(basic=True)]
    every += [(leaf, section) for section, leaves in sectioned_leaves().items() for leaf in leaves]
    ranked = sorted(
        ((rank, at) for at, (leaf, _) in enumerate(every) if (rank := _rank(leaf, words)) is not None)
    )
    return [every[at] for _, at in ranked[:MOST_FOUND]]


def _rank(leaf: Leaf, words: list[str]) -> int | None:
    """0 is best; None does not fit."""
    label = label_of(leaf)
    name = f"{translated(label)} {label} {leaf.name.replace('_', ' ')}".lower()
    if all(f" {name}".find(f" {word}") >= 0 for word in words):
        return 0
    if all(word in name for word in words):
        return 1
    text = f"{name} {leaf.help_text} {translated(leaf.help_text)}".lower()
    return 2 if all(word in text for word in words) else None
