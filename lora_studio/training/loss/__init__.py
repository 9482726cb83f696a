"""What one step minimises."""
