"""The server's HTTP side: a gate before every request, and the routes that MONAI Label's clients use."""
