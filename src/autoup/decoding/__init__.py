"""From an encoder to its decoder."""
