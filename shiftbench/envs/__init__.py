"""Tasks as environments that return pixels.

Importing this package is light: dm_control, MuJoCo and gymnasium come in when one is made.
"""
