"""What the paper says: printed numbers, claims, theory; and how our measurements compare."""
