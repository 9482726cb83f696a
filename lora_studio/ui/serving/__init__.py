"""Serving of the page: the gate, logins, headers."""
