"""The benchmark suite behind `tilework bench`.

A case (tilework.testing.cases) is prepared by each contestant, its answer is held against the
float64 reference, and only then are the contestants timed, in turns.

    cli.py           the options, and one run from beginning to end
    environment.py   the variables that hold every library to the same threads and ISA
    worker.py        a process that holds contestants, and does as it is told over a pipe
    session.py       tells workers whose turn it is, and keeps the times
    contestants.py   tilework's engines, NumPy and PyTorch; jax_peer.py and onnx_peer.py the others,
                     onnx_functional.py what turns a case into ONNX
    check.py         answers against the reference, gradients against finite differences
    report.py        the table and the JSON; plot.py the picture
    accuracy.py      errors of matrix products against float64, beside the peers'; conv_accuracy.py
                     those of convolutions
"""
