"""The recipes of tilework.train in PyTorch, to compare accuracies with."""
