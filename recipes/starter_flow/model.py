"""The parts of the flow base, small enough for a CPU, in the layout of Z-Image; and its denoiser for a whole
batch at once."""

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, ZImageTransformer2DModel
from torch import nn
from transformers import Qwen2Tokenizer, Qwen3Config, Qwen3Model

from recipes.starter_flow import settings, tokenizer

PATCH = 2
TEXT_WIDTH = 128
TEXT_TOKENS = 32
"""The transformer fills texts up to multiples of this; every caption fits into one."""
HEAD_AXES = (16, 24, 24)


def make_text_encoder(tokenizer: Qwen2Tokenizer, layers: int = 2) -> Qwen3Model:
    """Qwen3 in small. Z-Image reads the states before the last layer, so that one stays as it began."""
    return Qwen3Model(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=2 * TEXT_WIDTH,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=4,
            head_dim=TEXT_WIDTH // 4,
            max_position_embeddings=512,
            bos_token_id=None,
            eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def read(
    encoder: Qwen3Model, tokens: Qwen2Tokenizer, captions: list[str]
) -> tuple[torch.Tensor, torch.Tensor]:
    """What Z-Image reads of captions, [b, 32, d], and which of it is text, [b, 32]."""
    ids = tokens(
        tokenizer.messages(tokens, captions), padding="max_length", truncation=True,
        max_length=TEXT_TOKENS, return_tensors="pt",
    ).to(encoder.device)  # fmt: skip
    # Padding stands behind the text, which only looks back: no mask is needed.
    output = encoder(ids.input_ids, output_hidden_states=True)
    return output.hidden_states[-2], ids.attention_mask.bool()


def make_transformer(heads: int = 3, layers: int = 4) -> ZImageTransformer2DModel:
    """Few wide heads: on a CPU the attention's cost grows with their number."""
    return ZImageTransformer2DModel(
        in_channels=4,
        dim=heads * sum(HEAD_AXES),
        n_layers=layers,
        n_refiner_layers=1,
        n_heads=heads,
        n_kv_heads=heads,
        cap_feat_dim=TEXT_WIDTH,
        axes_dims=list(HEAD_AXES),
        axes_lens=[1024, 64, 64],
    )


def make_scheduler() -> FlowMatchEulerDiscreteScheduler:
    """Straight lines, with more of the steps where there is much noise."""
    return FlowMatchEulerDiscreteScheduler(shift=settings.SHIFT)


def make_codec(folder) -> AutoencoderKL:
    """The first base's autoencoder. Z-Image's pipeline adds a shift, which must be a number."""
    vae = AutoencoderKL.from_pretrained(folder)
    vae.register_to_config(shift_factor=0.0)
    return vae.eval().requires_grad_(False)


class PlainAttention:
    """Attention of matrix products and rotations of real numbers: with so few tokens, faster in both
    directions on a CPU than what diffusers takes, and the same numbers."""

    def __call__(self, attn, hidden_states, attention_mask=None, freqs_cis=None, **_):
        b, n, _ = hidden_states.shape
        query, key, value = (
            layer(hidden_states).view(b, n, attn.heads, -1) for layer in (attn.to_q, attn.to_k, attn.to_v)
        )
        query = rotate(attn.norm_q(query), freqs_cis).transpose(1, 2)
        key = rotate(attn.norm_k(key), freqs_cis).transpose(1, 2)
        scores = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5)
        mixed = scores.float().softmax(-1).to(value.dtype) @ value.transpose(1, 2)
        return attn.to_out[0](mixed.transpose(1, 2).reshape(b, n, -1))


def rotate(x: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Pairs of neighbours [b, n, heads, d] turned by the angles whose cosines and sines are `turns`
    [2, n, 1, d / 2]."""
    even, odd = x[..., 0::2], x[..., 1::2]
    cosine, sine = turns.to(x.dtype)
    return torch.stack([even * cosine - odd * sine, even * sine + odd * cosine], -1).flatten(-2)


class BatchedDenoiser(nn.Module):
    """The transformer's own layers over a batch of one size, without its lists; texts [b, 32, d]. A picture
    must be a multiple of 32 tokens: the transformer fills others up."""

    def __init__(self, transformer: ZImageTransformer2DModel, side: int) -> None:
        super().__init__()
        self.transformer, self.side = transformer, side // PATCH
        for module in transformer.modules():
            if hasattr(module, "set_processor"):
                module.set_processor(PlainAttention())
        rows, columns = torch.meshgrid(torch.arange(self.side), torch.arange(self.side), indexing="ij")
        first = torch.full_like(rows, TEXT_TOKENS + 1)
        picture = torch.stack([first, rows, columns], -1).view(-1, 3)
        text = torch.zeros(TEXT_TOKENS, 3, dtype=torch.long)
        text[:, 0] = torch.arange(1, TEXT_TOKENS + 1)
        turns = transformer.rope_embedder(torch.cat([picture, text]))
        self.register_buffer("turns", torch.stack([turns.real, turns.imag])[:, :, None], persistent=False)

    def forward(
        self, noisy: torch.Tensor, sigmas: torch.Tensor, texts: torch.Tensor, is_text: torch.Tensor
    ) -> torch.Tensor:
        """n - x, [b, c, h, w]."""
        own = self.transformer
        b, c = noisy.shape[:2]
        s, p = self.side, PATCH
        count = s * s
        time = own.t_embedder((1 - sigmas) * own.t_scale)
        tokens = noisy.view(b, c, s, p, s, p).permute(0, 2, 4, 3, 5, 1).reshape(b, count, -1)
        x = own.all_x_embedder["2-1"](tokens)
        for layer in own.noise_refiner:
            x = layer(x, None, self.turns[:, :count], time)
        cap = torch.where(is_text[..., None], own.cap_embedder(texts), own.cap_pad_token)
        for layer in own.context_refiner:
            cap = layer(cap, None, self.turns[:, count:])
        both = torch.cat([x, cap.to(x.dtype)], 1)
        for layer in own.layers:
            both = layer(both, None, self.turns, time)
        out = own.all_final_layer["2-1"](both[:, :count], c=time)
        return -out.view(b, s, s, p, p, c).permute(0, 5, 1, 3, 2, 4).reshape(b, c, s * p, s * p)


@torch.no_grad()
def begin_quietly(transformer: ZImageTransformer2DModel) -> None:
    """Blocks that begin half open and the same at all times, and an answer that begins at nothing."""
    for block in (*transformer.layers, *transformer.noise_refiner):
        modulation = block.adaLN_modulation[0]
        modulation.weight.normal_(std=0.02)
        gates = modulation.bias.view(4, -1)
        gates.copy_(torch.tensor([0.0, 0.5, 0.0, 0.5])[:, None].expand_as(gates))
    final = transformer.all_final_layer["2-1"].linear
    final.weight.zero_()
    final.bias.zero_()
