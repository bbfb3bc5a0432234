"""Web pages: HTML and scripts that anyone may load, and the data that they request with a token."""
