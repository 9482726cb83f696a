from __future__ import annotations

import pytest

from lora_studio.lora.file.sgm_keys import to_stability

PAIRS = {
    "down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q": (
        "input_blocks_4_1_transformer_blocks_0_attn1_to_q"
    ),
    "down_blocks_0_resnets_1_conv1": "input_blocks_2_0_in_layers_2",
    "down_blocks_1_resnets_0_conv_shortcut": "input_blocks_4_0_skip_connection",
    "down_blocks_0_downsamplers_0_conv": "input_blocks_3_0_op",
    "mid_block_attentions_0_proj_in": "middle_block_1_proj_in",
    "mid_block_resnets_1_time_emb_proj": "middle_block_2_emb_layers_1",
    "up_blocks_0_attentions_2_proj_out": "output_blocks_2_1_proj_out",
    "up_blocks_1_resnets_0_conv2": "output_blocks_3_0_out_layers_3",
    "up_blocks_1_upsamplers_0_conv": "output_blocks_5_2_conv",
    "conv_in": "input_blocks_0_0",
    "time_embedding_linear_2": "time_embed_2",
    "add_embedding_linear_1": "label_emb_0_0",
}


@pytest.mark.parametrize(("ours", "theirs"), PAIRS.items())
def test_a_layer_has_its_name_there(ours: str, theirs: str) -> None:
    assert to_stability(ours) == theirs


@pytest.mark.parametrize("name", ["encoder_layers_0_mlp_fc1", "something_else"])
def test_other_names_stay(name: str) -> None:
    assert to_stability(name) == name
