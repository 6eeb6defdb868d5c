"""Secure aggregation's primitives: pure arithmetic without randomness of its own."""
