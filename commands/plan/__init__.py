"""`crosscloud plan`: what a run will move, cost, take and need, before anything is spent."""
