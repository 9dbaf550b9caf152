"""The cupy engine: the contract over the namespace of its arrays, CuPy's or another's that has
NumPy's names. It serves what has no kernel."""
