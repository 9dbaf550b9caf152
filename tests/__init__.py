"""tilework's tests; they run from the installed package too: python -m pytest --pyargs tilework.tests."""
