"""Package crosscloud.v1: the protos and their committed stubs."""
