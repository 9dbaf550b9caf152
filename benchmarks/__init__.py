"""The benchmark suite behind `tilework bench`.

A case (tilework.testing.cases) is prepared by each contestant, its answer is held against the
float64 reference, and only then are the contestants timed, in turns.

    cli.py           the options, and one run from beginning to end
    selection.py     which cases a run times, and for how long each
    environment.py   the variables that hold every library to the same threads and ISA
    worker.py        a process that holds contestants, and does as it is told over a pipe
    session.py       tells workers whose turn it is, and keeps the times
    contestants.py   tilework's engines, NumPy and PyTorch; jax_peer.py and onnx_peer.py the others,
                     onnx_functional.py what turns a case into ONNX
    check.py         answers against the reference, gradients against finite differences
    results.py       rows and times, what is worked out from them, and their JSON
    machine.py       what they were taken on; noise.py whether that was quiet
    report.py        the table; plot.py the picture; page.py the page
    compare.py       two runs, and what of their difference is more than noise
    accuracy.py      errors of matrix products against float64, beside the peers'; conv_accuracy.py
                     those of convolutions
"""
