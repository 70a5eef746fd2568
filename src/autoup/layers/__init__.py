"""All that stands in a user's model: the layers, their start, how they are computed."""
