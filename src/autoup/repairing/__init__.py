"""Change a model's layers and keep its function."""
