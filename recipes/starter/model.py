"""The parts of the base model, small enough for a CPU, in the layout that Stable Diffusion 1.x uses."""

from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

SCALING = 0.18215
TEXT_WIDTH = 128


def make_autoencoder(size: int, channels: tuple[int, ...] = (16, 32, 64)) -> AutoencoderKL:
    """Four latent channels, a quarter of the side."""
    count = len(channels)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * count,
        up_block_types=("UpDecoderBlock2D",) * count,
        block_out_channels=channels,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=size,
        scaling_factor=SCALING,
    )


def make_unet(
    latent_size: int, channels: tuple[int, ...] = (64, 128, 192), heads: int = 2
) -> UNet2DConditionModel:
    """Few wide heads: on a CPU the attention's cost grows with their number."""
    crossed = len(channels) - 1
    return UNet2DConditionModel(
        sample_size=latent_size,
        in_channels=4,
        out_channels=4,
        block_out_channels=channels,
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=heads,
        down_block_types=("CrossAttnDownBlock2D",) * crossed + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * crossed,
    )


def make_text_encoder(tokenizer: CLIPTokenizer, layers: int = 2) -> CLIPTextModel:
    """CLIP's text tower in small; its special tokens must be those of the tokenizer."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            num_hidden_layers=layers,
            num_attention_heads=4,
            max_position_embeddings=77,
            projection_dim=TEXT_WIDTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def make_scheduler() -> DDIMScheduler:
    """Stable Diffusion's noise schedule, with the velocity as the target."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="v_prediction",
    )
