"""The environment that users and tests share; README.md in this directory is the map of it."""
