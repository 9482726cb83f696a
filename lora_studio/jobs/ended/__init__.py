"""The time after a training: who hears of its end, and the first pictures with its LoRA."""
