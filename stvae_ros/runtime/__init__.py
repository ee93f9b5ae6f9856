"""How one step of a network is run: device, precision, CUDA graph, ONNX Runtime, export."""
