"""Writes python/tilework/data/digits.npz from scikit-learn's copy of the UCI test set.

Run it from the root of the checkout, with scikit-learn installed: python tools/make_digits.py
"""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

digits = load_digits()
images = digits.images.astype(np.uint8)
labels = digits.target.astype(np.uint8)
if not (np.array_equal(images, digits.images) and images.shape == (1797, 8, 8)):
    raise SystemExit("the source has changed: expected 1797 images of 8x8 integers")
target = Path("python/tilework/data/digits.npz")
np.savez_compressed(target, images=images, labels=labels)
print(f"{target}: {target.stat().st_size} bytes")
