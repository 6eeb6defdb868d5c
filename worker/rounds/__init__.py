"""The worker's half of a round: pure. No torch, no clock, no I/O."""
