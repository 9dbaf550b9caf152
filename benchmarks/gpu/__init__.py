"""CPU beside GPU: `tilework bench --device cpu,cuda`, and `tilework gpu-report`.

Without a GPU its column holds a bound: what a named card cannot do better, by its published peaks
and the case's count of products and bytes.

    cards.py         named cards: their published peaks, where these stand, the bound they give
    work.py          what a case counts for on a card: products, arithmetic beside them, bytes
    contestants.py   tilework, cuBLAS (through CuPy) and PyTorch on a device; timing by events
    timing.py        a session that measures the transfers too
    clocks.py        what nvidia-smi says of the card
    results.py       a run with a device's columns, and its JSON
    table.py         the table
    flow.py          a run from its options to its files
    roofline.py      intensity against rate, one mark a kernel
    crossing.py      from which size the GPU pays, transfers included
    report.py        the command gpu-report
"""
