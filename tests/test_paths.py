"""Every fast path that `testing/paths.py` lists is entered by a case of the default run."""

from collections import Counter

from tilework.testing.paths import PATHS, entering


def test_every_path_has_a_case():
    missing = [f"{p.source}, {p.ops}: {p.name}" for p, case in entering().items() if case is None]
    assert not missing, "no case of the default run enters\n" + "\n".join(missing)


def test_paths_are_listed_once():
    several = Counter((p.name, p.ops, p.backward) for p in PATHS)
    assert not [key for key, count in several.items() if count > 1]
