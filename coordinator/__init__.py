"""The coordinator's decisions: events and the time in, effects out. No I/O, no clock."""
