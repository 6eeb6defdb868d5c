"""How a process of ours begins, what it may open, and how it ends."""
