"""Kill the server at its worst moments, again and again, and look what is left."""
