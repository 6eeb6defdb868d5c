"""The worker's processes: link and trainer."""
