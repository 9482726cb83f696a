"""The studio looked at by whoever runs it: checks, storage, logs, and word of trainings that end."""
