"""The local store: one SQLite file with jobs, their events and the library, and the client of the mirror."""
