"""Data to try cytomoe on: a simulated plate of blood samples whose populations are known."""

from cytomoe.datasets.simulate import simulate_plate, write_plate

__all__ = ["simulate_plate", "write_plate"]
