"""Shows records on Weights & Biases, and changes none; no module needs it to be imported."""
