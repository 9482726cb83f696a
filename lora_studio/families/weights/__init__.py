"""How a base model's weights come into memory and lie there."""
