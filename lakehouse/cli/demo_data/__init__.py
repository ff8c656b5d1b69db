"""A coffee roaster's orders and the cities they went to: what `lakehouse demo` loads."""
