"""What both sides must agree on bit for bit. No network, no clock, no torch."""
