"""Linear layers side by side as one, as the makers of FLUX have them: a LoRA that is trained on the one has
a single matrix down for all of them, which Kohya's files hold. The products are the same."""

from __future__ import annotations

from typing import Any

import torch

from lora_studio.families.weights.mmap_weights import MappedFiles


class SplitActivation(torch.nn.Module):
    """The activation of a single block whose first layer gives query, key and value, 3 x `width` outputs, and
    then what is activated. The former wait for the block's attention, which comes next."""

    def __init__(self, activation: torch.nn.Module, width: int) -> None:
        super().__init__()
        self.activation = activation
        self._outputs = 3 * width
        self._waiting: torch.Tensor | None = None

    def forward(self, outputs: torch.Tensor) -> torch.Tensor:
        self._waiting = outputs[..., : self._outputs]
        activated: torch.Tensor = self.activation(outputs[..., self._outputs :])
        return activated

    def take(self) -> torch.Tensor:
        """Hand over the outputs that wait, once."""
        waiting, self._waiting = self._waiting, None
        assert waiting is not None, "a block's attention comes after its activation"
        return waiting


class ProjectedAlready(torch.nn.Module):
    """The projection of an attention that `split` has the outputs of."""

    def __init__(self, split: SplitActivation) -> None:
        super().__init__()
        self.split = split

    def forward(self, _: torch.Tensor) -> torch.Tensor:
        return self.split.take()


def fuse_layers(transformer: Any) -> None:
    """Put the layers of all blocks together, under diffusers' names for fused projections; those of a single
    block are its `proj_mlp`, unless they are one already. Needs memory of its own for about a third of the
    weights."""
    files = MappedFiles()
    for block in transformer.transformer_blocks:
        attention = block.attn
        attention.to_qkv = _side_by_side(files, attention.to_q, attention.to_k, attention.to_v)
        added = (attention.add_q_proj, attention.add_k_proj, attention.add_v_proj)
        attention.to_added_qkv = _side_by_side(files, *added)
        _replace_projections(attention, "to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj")
    for block in transformer.single_transformer_blocks:
        attention = block.attn
        if not hasattr(block, "proj_mlp"):
            continue
        layers = (attention.to_q, attention.to_k, attention.to_v, block.proj_mlp)
        block.proj_mlp = _side_by_side(files, *layers)
        block.act_mlp = SplitActivation(block.act_mlp, attention.inner_dim)
        attention.to_qkv = ProjectedAlready(block.act_mlp)
        _replace_projections(attention, "to_q", "to_k", "to_v")


def _replace_projections(attention: Any, *names: str) -> None:
    for name in names:
        delattr(attention, name)
    attention.fused_projections = True


@torch.no_grad()
def _side_by_side(files: MappedFiles, *layers: torch.nn.Linear) -> torch.nn.Linear:
    """One layer with the outputs of several in a row."""
    first = layers[0]
    outputs = sum(layer.out_features for layer in layers)
    made = torch.nn.Linear(first.in_features, outputs, bias=first.bias is not None, device="meta")
    for name in ("weight", "bias") if first.bias is not None else ("weight",):
        values = [getattr(layer, name).data for layer in layers]
        setattr(made, name, torch.nn.Parameter(torch.cat(values), requires_grad=False))
        for one in values:
            files.give_back(one)
    return made
