"""People on the page: what each may use, and the admin's panel of all."""
