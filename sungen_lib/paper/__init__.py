"""What the paper says: printed numbers, claims, theory; and our measurements held against them."""
