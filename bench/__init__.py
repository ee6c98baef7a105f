"""Side-by-side measurements: ours against a plain PyTorch server on the same weights, in one run."""
