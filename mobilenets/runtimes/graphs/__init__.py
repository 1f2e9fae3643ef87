"""ONNX graphs: written from a network, and rewritten for 8-bit integers."""
