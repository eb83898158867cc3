"""The experiments of the MoE-Sim-VAE paper, one file each, and the peers that cytomoe is measured against."""
