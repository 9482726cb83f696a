"""The direction in which each setting moves the result, and what that costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

FREE = "Costs nothing."
LONGER_STEP = "Makes each step longer."
MORE_MEMORY = "More takes more memory and makes each step longer."
LARGER_FILE = "More takes a little more memory and a larger file."
PREVIEW_TIME = "More takes longer at each preview."
DISK = "Costs disk, and a moment each time."
ENCODED_AGAIN = "Pictures are encoded at each use: each step is longer."
BLOCKS = "More keeps more of your subject in that part of the base, less keeps that part as it was."
EVEN = "It moves what is learned between coarse shapes and fine details."
FLOW_TIMES = "More noise teaches shapes and layout, less noise teaches details."


class Effect(NamedTuple):
    """Whole sentences: what more or on does to the result, and what it takes."""

    direction: str
    cost: str


UNTOLD = Effect("", "")
_MODEL: Mapping[str, tuple[str, str]] = {
    "pretrained_model_name_or_path": (
        "A base that draws such things already learns yours faster and better.",
        "A larger one takes more memory and longer steps.",
    ),
    "train_distilled": (
        "A base that is distilled after all loses its few steps: more are needed then.",
        FREE,
    ),
    "v_parameterization": ("The wrong choice gives noise or grey pictures.", FREE),
    "clip_skip": ("2 suits most anime bases; others draw worse with it.", FREE),
    "max_token_length": ("Longer captions are learned to their end.", "More takes a little longer a step."),
    "weighted_captions": ("Words with more weight are learned more strongly.", FREE),
    "mixed_precision": (
        "32 bit (no) is the most exact; half precision looks the same with most bases.",
        "Half precision takes half the memory, and less time on graphics cards.",
    ),
    "fp8_base_unet": (
        "The result moves a little away from the base's best.",
        "Halves the memory of weights.",
    ),
    "qtype": (
        "Fewer bits move the result further away from the base's best.",
        "Fewer bits take less memory and a little more time.",
    ),
    "qtype_te": (
        "Fewer bits move what is read of captions away from what the base was made with.",
        "Fewer bits take less memory and a little more time while captions are read.",
    ),
    "blocks_to_swap": ("The result is the same.", "More takes less of the card's memory and longer steps."),
}
_DATASET: Mapping[str, tuple[str, str]] = {
    "train_data_dir": ("Varied pictures give a LoRA that can be used for more.", FREE),
    "kind": ("It decides steps, rank and which parts are trained, where you leave these open.", FREE),
    "trigger_word": ("A made-up word gets your subject alone; a known one mixes with what it meant.", FREE),
    "resolution": (
        "More shows finer details, up to the base's own size; beyond it pictures repeat themselves.",
        "Twice as much takes about four times the time and the memory of a step.",
    ),
    "train_batch_size": (
        "More learns more steadily and less of each single picture.",
        "Each further picture takes about its own time and memory again.",
    ),
    "dataset_config": ("Sets with more repeats are learned more strongly than others.", FREE),
    "in_json": ("Captions in it stand for those beside the pictures.", FREE),
    "dataset_version": ("Each version of the edits is another set of pictures.", FREE),
    "reg_data_dir": (
        "The rest of the kind stays as the base draws it.",
        "They take their part of the steps.",
    ),
    "prior_loss_weight": ("More keeps the base's own kind better, and your subject is learned slower.", FREE),
    "num_repeats": ("More shows each picture more often an epoch; steps stay what they are.", FREE),
    "resolution_height": ("More than resolution fits upright pictures, less fits wide ones.", MORE_MEMORY),
    "enable_bucket": ("On keeps whole pictures, off loses their edges.", "On takes a little more time."),
    "min_bucket_reso": ("More keeps very long pictures from becoming thin strips, and cuts them.", FREE),
    "max_bucket_reso": ("More leaves long pictures their full length.", MORE_MEMORY),
    "bucket_reso_steps": ("Less cuts less off; more puts more pictures of one size together.", FREE),
    "bucket_no_upscale": ("On leaves small pictures sharp, at their own size.", "On makes steps shorter."),
    "resize_interpolation": ("Lanczos is sharp, area is smooth, nearest keeps pixel art.", FREE),
    "flip_aug": ("On doubles what a few pictures show, and forgets left and right.", "Twice the cache."),
    "color_aug": ("On makes colours matter less.", ENCODED_AGAIN),
    "random_crop": ("On shows more of large pictures, and teaches cut edges.", ENCODED_AGAIN),
    "face_crop_aug_range": ("Smaller numbers show more face and less around it.", ENCODED_AGAIN),
    "alpha_mask": ("On keeps the background out of what is learned.", FREE),
    "masked_loss": ("On keeps what is dark in the masks out of what is learned.", FREE),
    "conditioning_data_dir": ("White parts are learned, black ones are not.", FREE),
    "caption_extension": ("Pictures whose captions end otherwise have none.", FREE),
    "caption_prefix": ("What stands there is bound to all pictures.", FREE),
    "caption_suffix": ("What stands there is bound to all pictures, more weakly than in front.", FREE),
    "caption_separator": ("It decides what counts as one part for shuffling and leaving out.", FREE),
    "secondary_separator": ("Joined parts are shuffled and left out together.", FREE),
    "enable_wildcard": ("More ways to say it make the LoRA heed more prompts.", FREE),
    "caption_dropout_rate": ("More binds the subject to the LoRA itself and less to its word.", FREE),
    "caption_dropout_every_n_epochs": ("Smaller numbers bind the subject less to its word.", FREE),
    "caption_tag_dropout_rate": ("More makes single words matter less.", FREE),
    "shuffle_caption": ("On makes the order of words matter less.", FREE),
    "keep_tokens": ("More parts keep the strength of standing in front.", FREE),
    "keep_tokens_separator": ("What it keeps in place is bound more strongly.", FREE),
    "token_warmup_min": ("More shows more of each caption from the start.", FREE),
    "token_warmup_step": ("More gives the first words a longer time of their own.", FREE),
    "validation_split": (
        "More tells more surely when learning turns into copying, and leaves fewer pictures to learn.",
        "More takes longer at each measurement.",
    ),
    "validation_seed": ("Another one holds other pictures back.", FREE),
    "cache_latents": ("The result is the same.", "On shortens each step and takes a little memory."),
    "cache_latents_to_disk": ("The result is the same.", "On takes disk and shortens the next start."),
    "vae_batch_size": ("The result is the same but for rounding.", "More takes more memory at the start."),
    "cache_text_encoder_outputs": ("The result is the same.", "On frees the text encoder's memory."),
}
_NETWORK: Mapping[str, tuple[str, str]] = {
    "network_dim": ("More holds finer details and overfits sooner.", LARGER_FILE),
    "network_alpha": ("More makes each step count more, as a higher learning rate does.", FREE),
    "algo": (
        "The others hold more in a file of the same size; fewer programs read them.",
        "loha, lokr and diag-oft make each step longer.",
    ),
    "conv_dim": ("More learns textures and brush strokes better, and overfits sooner.", LARGER_FILE),
    "conv_alpha": ("More makes the convolutions learn faster.", FREE),
    "dora_wd": ("On comes closer to what full training gives.", LONGER_STEP),
    "wd_on_output": ("The two differ little; which programs read the file differs.", FREE),
    "factor": ("Larger numbers hold less.", "Larger numbers make the file smaller."),
    "decompose_both": ("On holds less.", "On makes the file smaller."),
    "full_matrix": ("On holds the most that this kind can.", "On makes the file larger."),
    "constraint": ("Less keeps the base more as it was.", FREE),
    "network_dropout": ("More overfits later and learns slower.", FREE),
    "rank_dropout": ("More overfits later and learns slower.", FREE),
    "module_dropout": ("More overfits later and learns slower.", FREE),
    "scale_weight_norms": ("Less keeps single layers from taking over, and weakens the LoRA.", LONGER_STEP),
    "network_train_unet_only": (
        "On keeps the meaning of all words; off binds a name more closely.",
        "On takes less memory, less time and a smaller file.",
    ),
    "network_train_text_encoder_only": (
        "On teaches only what words mean: hardly any new shapes.",
        "On takes a smaller file.",
    ),
    "block_dims": (BLOCKS, LARGER_FILE),
    "block_alphas": ("More makes that block learn faster.", FREE),
    "conv_block_dims": (BLOCKS, LARGER_FILE),
    "conv_block_alphas": ("More makes that block's convolutions learn faster.", FREE),
    "down_lr_weight": ("More changes layout and shapes more.", FREE),
    "mid_lr_weight": ("More changes what a picture is about.", FREE),
    "up_lr_weight": ("More changes details, textures and colours more.", FREE),
    "block_lr_zero_threshold": ("More leaves more of the base untouched.", "More makes the file smaller."),
    "loraplus_lr_ratio": ("More learns faster, and breaks sooner.", FREE),
    "loraplus_unet_lr_ratio": ("More teaches shapes and style faster, and breaks sooner.", FREE),
    "loraplus_text_encoder_lr_ratio": ("More binds words faster, and breaks sooner.", FREE),
    "network_weights": ("What that file knows is there from the start.", FREE),
    "dim_from_weights": ("On keeps the shape of that file, whatever the ranks here say.", FREE),
    "base_weights": ("What they draw is not learned again, and is missing without them.", "Longer start."),
    "base_weights_multiplier": ("More takes more of each of them for granted.", FREE),
}
_OPTIMIZER: Mapping[str, tuple[str, str]] = {
    "max_train_steps": (
        "More comes closer to your pictures, and in the end copies them.",
        "Time, step by step.",
    ),
    "learning_rate": ("More learns faster; too much gives broken colours and shapes.", FREE),
    "unet_lr": ("More learns shapes and style faster, and breaks sooner.", FREE),
    "text_encoder_lr": ("More binds words more closely, and spoils other words sooner.", "0 saves memory."),
    "lr_scheduler": ("One that falls ends more calmly, and learns less in the same steps.", FREE),
    "lr_warmup_steps": ("More begins more gently, which high rates need.", FREE),
    "lr_decay_steps": ("More ends more gently.", FREE),
    "lr_scheduler_num_cycles": ("More jumps out of what was found, and finds anew.", FREE),
    "lr_scheduler_power": ("More gives the last steps less to say.", FREE),
    "lr_scheduler_timescale": ("More keeps the rate high for longer.", FREE),
    "lr_scheduler_min_lr_ratio": ("More keeps the last steps learning.", FREE),
    "lr_scheduler_type": ("It decides which steps count most.", FREE),
    "lr_scheduler_args": ("They decide which steps count most.", FREE),
    "optimizer_type": (
        "AdamW is the usual one; Prodigy and DAdapt find the rate themselves; Lion wants a lower rate.",
        "Those with 8bit take less memory, Prodigy and DAdapt more.",
    ),
    "optimizer_args": ("They decide how much earlier steps still count.", FREE),
    "weight_decay": ("More keeps the LoRA weaker, and overfits later.", FREE),
    "gradient_accumulation_steps": ("More learns more steadily.", "Each step takes so many times as long."),
    "gradient_checkpointing": (
        "The result is the same.",
        "On takes less memory and about 1.5 times the time.",
    ),
    "max_grad_norm": ("Less keeps single pictures from throwing the training off.", FREE),
    "seed": ("Another one gives another LoRA of the same quality.", FREE),
}
_NOISE: Mapping[str, tuple[str, str]] = {
    "min_snr_gamma": (f"Less weighs slight noise less. {EVEN}", FREE),
    "debiased_estimation_loss": ("On learns shapes before details.", FREE),
    "scale_v_pred_loss_like_noise_pred": ("On learns details more strongly than shapes.", FREE),
    "v_pred_like_loss": ("More learns shapes more strongly.", FREE),
    "zero_terminal_snr": ("On allows darker and brighter pictures.", FREE),
    "noise_offset": ("More gives stronger contrast; too much gives blotches.", FREE),
    "noise_offset_random_strength": ("On mixes strong and weak contrast.", FREE),
    "adaptive_noise_scale": ("More shifts bright and dark pictures further than others.", FREE),
    "multires_noise_iterations": ("More gives stronger contrast and livelier layout.", LONGER_STEP),
    "multires_noise_discount": ("More makes the coarse noise stronger.", FREE),
    "ip_noise_gamma": ("More makes drawing forgive more, and details softer.", FREE),
    "ip_noise_gamma_random_strength": ("On disturbs some pictures hardly at all.", FREE),
    "loss_type": ("l1 and huber heed single odd pictures less than l2.", FREE),
    "huber_schedule": ("It decides at which noise odd pictures count less.", FREE),
    "huber_c": ("Less heeds odd pictures less.", FREE),
    "huber_scale": ("Less heeds odd pictures less.", FREE),
    "min_timestep": ("More leaves fine details as the base has them.", FREE),
    "max_timestep": ("Less leaves layout and shapes as the base has them.", FREE),
    "timestep_sampling": (FLOW_TIMES, FREE),
    "sigmoid_scale": ("More gives very much and very little noise a larger share.", FREE),
    "discrete_flow_shift": (FLOW_TIMES, FREE),
    "weighting_scheme": (EVEN, FREE),
    "logit_mean": (FLOW_TIMES, FREE),
    "logit_std": ("More gives very much and very little noise a larger share.", FREE),
    "mode_scale": ("More gives very much and very little noise a smaller share.", FREE),
    "model_prediction_type": ("Another one than the base's own gives a LoRA that fits only such runs.", FREE),
    "guidance_scale": ("Another one than it is drawn with makes pictures stronger or paler.", FREE),
}
_PREVIEW: Mapping[str, tuple[str, str]] = {
    "sample_prompts": ("What is learned is the same; other prompts show other sides of it.", PREVIEW_TIME),
    "sample_every_n_steps": (
        "What is learned is the same; smaller numbers show it more often.",
        PREVIEW_TIME,
    ),
    "max_preview_share": ("What is learned is the same; more shows more of it.", PREVIEW_TIME),
    "sample_steps": ("What is learned is the same; more shows it more finely.", PREVIEW_TIME),
    "sample_guidance": ("What is learned is the same; more shows it more strongly.", FREE),
    "sample_seed": ("What is learned is the same; another one shows other pictures.", FREE),
    "validate_every_n_steps": (
        "What is learned is the same; smaller numbers measure it more often.",
        "Time.",
    ),
    "max_validation_steps": ("What is learned is the same; more measures it more surely.", "Time."),
    "checkpoint_board": (
        "What is learned is the same; off leaves the choice to you.",
        "A few percent of time.",
    ),
    "result_pictures": (
        "What is learned is the same; more shows more of it.",
        "More takes longer at the end.",
    ),
}
_OUTPUT: Mapping[str, tuple[str, str]] = {
    "output_name": ("What is learned is the same.", FREE),
    "output_dir": ("What is learned is the same.", FREE),
    "title": ("What is learned is the same.", FREE),
    "save_every_n_steps": ("Smaller numbers give more checkpoints to choose the best one from.", DISK),
    "save_state_every_n_steps": ("Smaller numbers lose less when the machine goes down.", DISK),
    "save_state_every_n_minutes": ("Smaller numbers lose less when the machine goes down.", DISK),
    "save_precision": ("float is exact to the last digit.", "float takes twice the disk of fp16 and bf16."),
    "training_comment": ("What is learned is the same.", FREE),
    "engine": ("sd-scripts' results differ in details from ours.", "sd-scripts takes a longer start."),
    "sd_scripts_args": ("Each option has its own way.", "It depends on the option."),
    "worker": ("The result is the same.", "A process takes a longer start; Modal costs money."),
    "num_processes": (
        "More learns as a larger batch does: more steadily.",
        "Each takes a graphics card, and a step takes about as long.",
    ),
    "cpu_data_parallel": (
        "The result is the same but for rounding.",
        "On shortens the steps of small bases.",
    ),
}
EFFECTS: Mapping[str, Effect] = {
    name: Effect(*sentences)
    for group in (_MODEL, _DATASET, _NETWORK, _OPTIMIZER, _NOISE, _PREVIEW, _OUTPUT)
    for name, sentences in group.items()
}
"""Effects by setting, in the order of the groups."""
