"""Two sizes to parameters, in plain integers: no file here imports torch."""
