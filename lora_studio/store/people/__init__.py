"""People who may come in, their invites and quotas, and the owners of things."""
