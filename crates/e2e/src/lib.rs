//! User stories, told to the real binary from outside. They are in `tests/e2e`, one file each; there is nothing here.
