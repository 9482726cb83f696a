"""HTML, forms and formats that the tabs share."""
