"""`crosscloud verify`: whether a run's model is what its signed sums make, from files alone."""
