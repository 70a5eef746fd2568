"""Look at any model and leave no trace.

`copies` copies a model and acts on the copy; `modules` tells paths, owners and the kernel in use;
`runs` runs a copy quietly and says where it failed. `calls` records the functions of one forward
pass, and `sites` finds among modules and calls the places where a model upsamples. `position` is
the arithmetic of where pixels lie.
"""
