"""A whole federation on one machine, behind `crosscloud demo`."""
