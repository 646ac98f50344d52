"""An example plugin. Its task files lie beside this file."""
