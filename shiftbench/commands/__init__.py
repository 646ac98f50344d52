"""What the command line can do; `shiftbench.cli` puts it together."""
