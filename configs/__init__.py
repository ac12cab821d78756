"""Named runs: one typed function `experiment` a file; installed as the package `mimgen_configs`."""
