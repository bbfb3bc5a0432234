"""The HTTP side of the server: a gate in front of every request, and the routes for MONAI Label's clients."""
