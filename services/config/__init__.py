"""What an operator writes: read once, checked, refused with the fix."""
