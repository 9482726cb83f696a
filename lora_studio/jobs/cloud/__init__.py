"""Trainings on rented machines: what travels there, the far end, the worker at the near one."""
