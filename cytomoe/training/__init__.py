"""Training of MoE-Sim-VAE: the loop and its progress, nothing known of files or of the terminal."""
