"""What tests and benchmarks share: the cases of each op, their references and tolerances.

`cases/<family>.py` lists, once for each op, the inputs that matter, a float64 reference in NumPy
and how far a result may lie from it. The test-suite runs every case over every engine; the
benchmarks time those that carry a `Bench`.
"""
