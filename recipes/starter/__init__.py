"""How the embedded base model in ``models/starter`` was made."""
