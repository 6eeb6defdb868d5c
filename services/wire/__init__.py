"""How bytes travel, between machines and between our own processes."""
