"""Find every upsampling step of a model and say what is wrong with it."""
