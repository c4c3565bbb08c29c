"""Looking deeper, on request: real imports and real kernels, each in a contained child process."""
