"""How much grid there is: in pictures, in kernels, in what a model makes of constant inputs."""
