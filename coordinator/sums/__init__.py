"""Adds up the survivors' uploads, plain or masked."""
