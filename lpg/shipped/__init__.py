"""Rules that ship with the package, loadable by name."""
