"""How the flow sibling of the embedded base model was made."""
