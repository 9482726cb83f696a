"""People on the page: what each of them uses and may use."""
