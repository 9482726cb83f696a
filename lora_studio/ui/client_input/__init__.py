"""Input of clients, checked: ids, texts, uploads, pictures."""
