from lora_studio.lora.file.keys import split_key, text_encoder_name, unet_name


def test_unet_names_are_the_module_path_with_underscores():
    module = "down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_out.0"
    assert unet_name(module) == "lora_unet_down_blocks_0_attentions_1_transformer_blocks_0_attn1_to_out_0"


def test_text_encoder_names_have_the_level_that_transformers_dropped():
    wanted = "lora_te_text_model_encoder_layers_3_mlp_fc1"
    assert text_encoder_name("encoder.layers.3.mlp.fc1") == wanted
    assert text_encoder_name("text_model.encoder.layers.3.mlp.fc1") == wanted


def test_a_key_splits_at_its_first_dot():
    assert split_key("lora_unet_x.lora_down.weight") == ("lora_unet_x", "lora_down.weight")
    assert split_key("lora_unet_x.alpha") == ("lora_unet_x", "alpha")
