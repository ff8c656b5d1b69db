"""What `lakehouse connect` prints, a file for each engine. `connecting.py` says how it is read."""
