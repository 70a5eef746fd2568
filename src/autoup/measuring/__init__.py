"""How much grid there is, in pictures, in kernels, on constant inputs."""
