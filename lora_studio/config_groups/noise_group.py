"""Noise and loss."""

from __future__ import annotations

from typing import Literal

from lora_studio.config_groups.setting_group import Group, setting

FLOW_SETTINGS = (
    *("timestep_sampling", "sigmoid_scale", "discrete_flow_shift", "weighting_scheme", "logit_mean"),
    *("logit_std", "mode_scale", "model_prediction_type", "guidance_scale"),
)
DIFFUSION_SETTINGS = (
    *("min_snr_gamma", "debiased_estimation_loss", "scale_v_pred_loss_like_noise_pred"),
    *("v_pred_like_loss", "zero_terminal_snr"),
)
"""Settings that matter to base models of one kind of noise."""


class NoiseGroup(Group):
    """Settings of noise and loss."""

    min_snr_gamma: float | None = setting(
        None,
        "Weigh the noise levels evenly (min-SNR, Hang et al. 2023); 5 is the usual value. Empty: off.",
        gt=0,
        le=20,
    )
    debiased_estimation_loss: bool = setting(
        False, "Weigh the noise levels so that the strongest noise counts most (Yu et al. 2023)."
    )
    scale_v_pred_loss_like_noise_pred: bool = setting(
        False, "Weigh the noise levels of a v-prediction base as those of a noise-predicting one."
    )
    v_pred_like_loss: float = setting(
        0.0,
        "Add this much of a v-prediction's weighting to the loss of a noise-predicting base. 0: none.",
        ge=0,
        le=10,
    )
    zero_terminal_snr: bool = setting(
        False,
        "Let the strongest noise be nothing but noise (Lin et al. 2023), for very dark and very bright "
        "pictures. Meant for v-prediction.",
    )
    noise_offset: float = setting(
        0.0,
        "Shift the noise a little per picture, for deeper blacks and brighter whites; 0.05 to 0.1.",
        ge=0,
        le=1,
    )
    noise_offset_random_strength: bool = setting(
        False, "Draw the strength of the noise offset anew for each picture, from 0 to noise_offset."
    )
    adaptive_noise_scale: float | None = setting(
        None,
        "Add this times a picture's mean (without its sign, in each latent channel) to its noise_offset. "
        "Empty: off.",
        ge=-10,
        le=10,
    )
    multires_noise_iterations: int = setting(
        0,
        "Add coarser noise so many times (pyramid noise), for more contrast; 6 to 10. 0: off.",
        ge=0,
        le=64,
    )
    multires_noise_discount: float = setting(
        0.3, "How much weaker each coarser noise of multires_noise_iterations is.", ge=0, le=1
    )
    ip_noise_gamma: float = setting(
        0.0,
        "Add so much more noise to what the base sees than it is asked for (input perturbation, Ning et al. "
        "2023); about 0.1. 0: off.",
        ge=0,
        le=1,
    )
    ip_noise_gamma_random_strength: bool = setting(
        False, "Draw the strength of the input perturbation anew for each picture, from 0 to ip_noise_gamma."
    )
    loss_type: Literal["l2", "l1", "huber", "smooth_l1"] = setting(
        "l2", "How a difference counts: squared, as it is, or squared when small and as it is when large."
    )
    huber_schedule: Literal["snr", "constant", "exponential"] = setting(
        "snr", "How the border between small and large of huber and smooth_l1 moves with the noise level."
    )
    huber_c: float = setting(
        0.1, "Border between small and large differences at the strongest noise.", gt=0, le=10
    )
    huber_scale: float = setting(
        1.0, "Factor on the border of huber and smooth_l1; the snr schedule has none.", gt=0, le=100
    )
    min_timestep: int = setting(0, "Least noise trained on.", ge=0, le=999)
    max_timestep: int = setting(
        1000,
        "Most noise trained on, itself not included. The same as min_timestep: that one alone.",
        ge=0,
        le=1000,
    )

    timestep_sampling: Literal["sigma", "uniform", "sigmoid", "shift", "flux_shift", "flux2_shift"] = setting(
        "sigma",
        "How a flow model's time is drawn, 0 a picture and 1 noise: from a table by weighting_scheme "
        "(sigma), evenly, most often in the middle (sigmoid), the same moved towards noise by "
        "discrete_flow_shift (shift) or by the size of the picture (flux_shift, flux2_shift). For flow "
        "models only.",
    )
    sigmoid_scale: float = setting(
        1.0,
        "How wide sigmoid, shift, flux_shift and flux2_shift spread their times. For flow models only.",
        gt=0,
        le=10,
    )
    discrete_flow_shift: float = setting(
        3.0,
        "How far sigma and shift move the times towards noise; 1: not at all. For flow models only.",
        gt=0,
        le=100,
    )
    weighting_scheme: Literal["uniform", "logit_normal", "mode", "cosmap", "sigma_sqrt"] = setting(
        "uniform",
        "The density of timestep_sampling sigma (logit_normal, mode), or the weights of the losses (cosmap, "
        "sigma_sqrt); Esser et al. 2024. For flow models only.",
    )
    logit_mean: float = setting(
        0.0,
        "Middle of weighting_scheme logit_normal; more is less noise. For flow models only.",
        ge=-10,
        le=10,
    )
    logit_std: float = setting(
        1.0, "Spread of weighting_scheme logit_normal. For flow models only.", gt=0, le=10
    )
    mode_scale: float = setting(
        1.29, "How much weighting_scheme mode prefers the middle. For flow models only.", ge=-1, le=1.75
    )
    model_prediction_type: Literal["raw", "additive", "sigma_scaled"] = setting(
        "raw",
        "What a flow model's answer is taken for: the velocity that it is made for (raw), or what sd-scripts "
        "can make of it instead, which is another training. For flow models only.",
    )

    guidance_scale: float = setting(
        3.5,
        "The distilled guidance that the base is told while it trains; FLUX.1 is trained at 1. Only for flow "
        "models that take one.",
        ge=0,
        le=100,
    )

    def check(self) -> None:
        """Refuse settings that do not go together. Raises ValueError that begins with the setting's name."""
        if self.min_timestep > self.max_timestep:
            raise ValueError("min_timestep must not be above max_timestep")
        if self.adaptive_noise_scale is not None and not self.noise_offset:
            raise ValueError("adaptive_noise_scale needs a noise_offset to add to: set one, such as 0.05")

    def check_prediction(self, *, predicts_velocity: bool) -> None:
        """Refuse settings that do not go with the base's prediction. Raises as `check` does."""
        if self.scale_v_pred_loss_like_noise_pred and not predicts_velocity:
            raise ValueError(
                "scale_v_pred_loss_like_noise_pred is for v-prediction only, and this base predicts the noise"
            )
        if self.v_pred_like_loss and predicts_velocity:
            raise ValueError(
                "v_pred_like_loss is for bases that predict the noise, and this is a v-prediction one"
            )
