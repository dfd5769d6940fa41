"""The built-in cluster backends; they come in through the same door as anybody else's."""
