"""What the pipelines recover of a known truth: `make science` measures it and writes it into the documentation.

A module of this folder that has a function ``measure(data: Data) -> Measured`` is found by itself.
"""
