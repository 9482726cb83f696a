"""Loading of a base model's weights, and their formats in memory."""
