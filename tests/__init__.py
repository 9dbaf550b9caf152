"""The tests; the installed package has them too: python -m pytest --pyargs tilework.tests."""
