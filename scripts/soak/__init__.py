"""A studio under many people for a while: what they do, what is looked at meanwhile, what is left."""
