"""The cost of a training step without anything of ours around it."""

from __future__ import annotations

from typing import Any

import torch


class BareLoop:
    """A plain PyTorch loop over the same modules, batch, loss and optimizer as our step. It keeps for its way
    back what PyTorch keeps by itself."""

    def __init__(self, engine: Any, data: Any, optimizer: Any) -> None:
        self.engine, self.optimizer = engine, optimizer
        self.pictures = data.loader.pictures
        device = engine.device.kind
        self.moments = [
            tuple(part[None].to(device) for part in data.latents.moments(placed, mirrored=False))
            for placed in self.pictures
        ]
        captions = [placed.picture.caption for placed in self.pictures]
        self.texts = None
        if engine.trains_text_encoder:
            tokens = engine.base.tokenizer(
                captions, padding="max_length", truncation=True, max_length=77, return_tensors="pt"
            )
            self.tokens = tokens.input_ids.to(device)
        else:
            self.texts = [engine.encode_fixed_text([caption]) for caption in captions]

    def step(self, number: int) -> None:
        with self.engine.frugal.left_alone():
            self._step(number)

    def _step(self, number: int) -> None:
        engine, index = self.engine, number % len(self.pictures)
        process, device = engine.base.process, engine.device.kind
        mean, deviation = self.moments[index]
        latents = mean + deviation * torch.randn_like(mean)
        noise = torch.randn_like(latents)
        timestep = torch.randint(0, 1000, (1,), device=device)
        alpha = process.alphas[timestep].view(-1, 1, 1, 1)
        noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=engine.dtype == torch.bfloat16):
            answer = self._answer(noisy, timestep, index)
        loss = torch.nn.functional.mse_loss(answer.float(), noise)
        loss.backward()
        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        self.optimizer.step()
        loss.item()

    def _answer(self, noisy: Any, timestep: Any, index: int) -> Any:
        if self.texts is None:
            states = self.engine.base.text_encoder(self.tokens[index][None]).last_hidden_state
            return self.engine.base.unet(noisy, timestep, encoder_hidden_states=states).sample
        return self.engine.base.denoise(noisy, timestep, self.texts[index])
