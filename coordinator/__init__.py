"""The coordinator's decisions: events and the time in, effects out. No network, no files, no clock."""
