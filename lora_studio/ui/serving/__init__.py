"""Serving the page: the gate, logins, headers."""
