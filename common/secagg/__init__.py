"""Secure aggregation's primitives: pure functions of bytes and arrays, no randomness of their own."""
