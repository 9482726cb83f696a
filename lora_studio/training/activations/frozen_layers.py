"""Frozen layers that keep less for the way back than PyTorch's own.

A convolution keeps its input also where only the gradient of its weight would need it; an activation of
several operations keeps what is between them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional


class FrozenConvolution(torch.autograd.Function):
    """conv2d of inputs [b, c, h, w] with a weight and a bias that are not trained: only the weight is kept.
    `how` is stride, padding, dilation, groups."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        how: tuple[Any, Any, Any, int],
    ) -> torch.Tensor:
        ctx.save_for_backward(weight)
        ctx.how, ctx.bias_sizes = how, None if bias is None else bias.shape
        ctx.inputs = inputs.shape, inputs.stride(), inputs.dtype, inputs.device
        return functional.conv2d(inputs, weight, bias, *how)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        size, layout, dtype, device = ctx.inputs
        stride, padding, dilation, groups = ctx.how
        # Sizes and layout decide over the kernel; the numbers would be read for the weight's gradient alone.
        stand_in = torch.empty_strided(size, layout, dtype=dtype, device=device)
        of_inputs, _, _ = torch.ops.aten.convolution_backward(
            gradient,
            stand_in,
            weight,
            ctx.bias_sizes,
            stride,
            padding,
            dilation,
            False,
            [0, 0],
            groups,
            (True, False, False),
        )
        return of_inputs, None, None, None


class RecomputedActivation(torch.autograd.Function):
    """An activation of one tensor, without weights, that keeps its input and is computed again on the way
    back."""

    @staticmethod
    def forward(
        ctx: Any, activation: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor
    ) -> torch.Tensor:
        ctx.activation = activation
        ctx.save_for_backward(inputs)
        return activation(inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (inputs,) = ctx.saved_tensors
        with torch.enable_grad():
            again = inputs.detach().requires_grad_()
            output = ctx.activation(again)
        (of_inputs,) = torch.autograd.grad(output, again, gradient)
        return None, of_inputs
