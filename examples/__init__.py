"""Programs to start one of your own from. Not part of the installed package."""
