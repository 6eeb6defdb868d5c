"""`crosscloud doctor`: looks for what keeps a process from working, before it is started."""
