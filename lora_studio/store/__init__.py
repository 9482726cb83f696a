"""The local truth: one SQLite file with jobs, their events, and what the library holds."""
