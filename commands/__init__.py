"""The command line `crosscloud`. Importing it loads no torch, no gRPC and no Redis."""
