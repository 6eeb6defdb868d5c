"""Ways of adding up."""
