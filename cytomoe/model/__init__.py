"""The networks and losses of MoE-Sim-VAE: tensors in, tensors out, nothing known of files."""
