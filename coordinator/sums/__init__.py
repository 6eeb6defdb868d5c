"""Adds up the survivors' uploads: one way per privacy tier (`summing.py`)."""
