"""Shows records on Weights & Biases, and changes none; only `mirror` imports the library."""
