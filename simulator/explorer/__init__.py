"""Tries every order of messages, losses, one crash and lies against real worker machines."""
