"""Parts of one's own: a net, a loss and cases, each in a config and in Python."""
