"""What ``python -m autoup`` does: words in, an `answers.Answer` out.

`arguments` has the options and their help, `corrections` knows what was meant; `targets` makes the
model that is named, and `states` finds its weights in what `checkpoints` read and write. Each
command is a file of its own. Nothing is printed here: ``autoup.__main__`` does that.
"""
