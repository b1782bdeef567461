"""The bench suite: what is installed, started, loaded, measured, drawn. Nothing but the standard library."""
