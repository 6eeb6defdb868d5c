"""`crosscloud doctor` before a process is started, `crosscloud probe` while it runs."""
