"""Tiny models that write captions, with random weights, in the form that transformers keeps them."""

from __future__ import annotations

import string
from pathlib import Path

import torch

MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[ENC]", "[DEC]"]
WORDS = [*MARKS, "a", "cat", "on", "sofa", "red", "tree"]


def make_tiny_blip(folder: Path) -> Path:
    """A BLIP of a few thousand numbers that knows the words above."""
    from transformers import (
        BertTokenizerFast,
        BlipConfig,
        BlipForConditionalGeneration,
        BlipImageProcessor,
        BlipProcessor,
    )

    torch.manual_seed(0)
    folder.mkdir(parents=True)
    tokenizer = BertTokenizerFast(vocab={word: number for number, word in enumerate(WORDS)})
    images = BlipImageProcessor(size={"height": 32, "width": 32})
    BlipProcessor(images, tokenizer).save_pretrained(folder)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BlipConfig(
        text_config={
            **small,
            "vocab_size": len(WORDS),
            "encoder_hidden_size": 16,
            "bos_token_id": 6,
            "eos_token_id": 3,
            "sep_token_id": 3,
            "pad_token_id": 0,
        },
        vision_config={**small, "image_size": 32, "patch_size": 16},
        projection_dim=16,
    )
    model = BlipForConditionalGeneration(config).eval()
    bias = model.text_decoder.cls.predictions.decoder.bias
    bias.data[len(MARKS) :] += 1.0  # words rather than marks
    model.save_pretrained(folder)
    return folder


def make_tiny_florence(folder: Path) -> Path:
    """A Florence-2 of some ten thousand numbers, whose tokens are small letters and the blank."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import (
        BartConfig,
        CLIPImageProcessor,
        Florence2Config,
        Florence2ForConditionalGeneration,
        Florence2Processor,
        Florence2VisionConfig,
        PreTrainedTokenizerFast,
    )

    torch.manual_seed(0)
    folder.mkdir(parents=True)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<image>"]
    letters = [*string.ascii_lowercase, "Ġ"]
    vocabulary = {token: number for number, token in enumerate([*special, *letters])}
    plain = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    plain.post_processor = processors.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"},
    )
    side, patches = 64, 5
    images = CLIPImageProcessor(size={"height": side, "width": side}, do_center_crop=False)
    images.image_seq_length = patches
    Florence2Processor(images, tokenizer).save_pretrained(folder)
    vision = Florence2VisionConfig(
        depths=(1, 1, 1, 1),
        embed_dim=(8, 8, 16, 16),
        num_heads=(1, 1, 2, 2),
        num_groups=(1, 1, 2, 2),
        window_size=2,
        projection_dim=16,
        drop_path_rate=0.0,
    )
    text = BartConfig(
        vocab_size=len(vocabulary),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_position_embeddings=512,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
        forced_eos_token_id=2,
    )
    config = Florence2Config(vision_config=vision, text_config=text, image_token_id=vocabulary["<image>"])
    model = Florence2ForConditionalGeneration(config).eval()
    model.save_pretrained(folder)
    return folder
