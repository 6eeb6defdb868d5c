"""Bytes that survive a power cut."""
