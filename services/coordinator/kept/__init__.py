"""The coordinator's disk: the log, uploads, what is kept."""
