"""The files of onnxruntime-web, in data/; `make browser` takes them from npm."""
