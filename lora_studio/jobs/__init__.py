"""The queue of trainings and the workers that run them."""
