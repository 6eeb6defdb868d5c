"""A run's model as files: made, followed, exported."""
