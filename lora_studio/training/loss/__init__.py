"""The loss: weights of differences, shapes of the noise, and the sign that the loss has blown up."""
