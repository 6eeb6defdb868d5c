"""The same cores under a virtual clock."""
