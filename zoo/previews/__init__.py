"""What a model now does, as pictures or text, drawn on the host."""
