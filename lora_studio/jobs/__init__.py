"""The queues of trainings and generations, the workers that run them, and the mirror."""
