"""Every place where decoders live, every kind of layer: each cell a test."""
