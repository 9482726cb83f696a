"""The named endpoints of the API."""
