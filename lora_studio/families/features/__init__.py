"""Pictures as a base model sees them."""
