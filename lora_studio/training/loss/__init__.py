"""How differences count: loss weights, shapes of the noise, and when the loss has blown up."""
