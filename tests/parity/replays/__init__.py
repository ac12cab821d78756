"""One module a system: recorded inputs in, our outputs out."""
