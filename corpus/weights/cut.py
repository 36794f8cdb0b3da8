#!/usr/bin/env python3
"""Cuts all-MiniLM-L6-v2.safetensors out of the model's own weights file: cut.py MODEL.safetensors OUT.safetensors

Standard library only. Bits are copied as they are; nothing is converted.
"""
import json
import struct
import sys

# Tensor and the number of leading rows kept. 384 columns end in half a block; 1536 are six whole ones.
KEEP = {
    "encoder.layer.0.attention.self.query.weight": 384,
    "encoder.layer.0.output.dense.weight": 128,
}


def main(source: str, target: str) -> None:
    with open(source, "rb") as file:
        (header_bytes,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(header_bytes))
        kept, data = {}, b""
        for name, rows in KEEP.items():
            tensor = header[name]
            assert tensor["dtype"] == "F32" and tensor["shape"][0] >= rows, tensor
            cols = tensor["shape"][1]
            file.seek(8 + header_bytes + tensor["data_offsets"][0])
            piece = file.read(rows * cols * 4)
            kept[name] = {"dtype": "F32", "shape": [rows, cols], "data_offsets": [len(data), len(data) + len(piece)]}
            data += piece
    kept["__metadata__"] = {"format": "pt", "source": "sentence-transformers/all-MiniLM-L6-v2", "license": "Apache-2.0"}
    text = json.dumps(kept).encode()
    text += b" " * (-len(text) % 8)
    with open(target, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


if __name__ == "__main__":
    main(*sys.argv[1:])
