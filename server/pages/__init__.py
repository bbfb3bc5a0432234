"""Pages for people: HTML and scripts that anybody may load, and the data they ask for with a token."""
