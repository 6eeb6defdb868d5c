"""The control port: who is let in, what is said."""
