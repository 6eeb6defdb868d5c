"""`crosscloud report`: one HTML page on a run, made from its folder alone."""
