"""A small writer of ONNX graphs: an operator in, the name of its output back."""

from typing import Any

import numpy as np

# The first opset with Gelu; every runtime of the last two years reads it.
OPSET = 20
TINY = 1e-12


class Graph:
    """Nodes and constants in the making."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._shared: dict[tuple[str, bytes], str] = {}

    def op(self, kind: str, *inputs: str, outputs: int = 1, name: str = "", **attributes: Any) -> Any:
        """Add an operator; the name of its output, or a list of names."""
        from onnx import helper

        name = name or f"{kind}_{len(self.nodes)}"
        names = [f"{name}:{place}" for place in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=name, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, value: Any, name: str = "") -> str:
        """Add an array; small ones without a name of their own are kept once."""
        from onnx import numpy_helper

        array = np.ascontiguousarray(value)
        key = (f"{array.dtype}{array.shape}", array.tobytes()) if not name and array.size <= 16 else None
        if key in self._shared:
            return self._shared[key]
        name = name or f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        if key:
            self._shared[key] = name
        return name

    def integers(self, *values: int) -> str:
        """A vector of int64: shapes, axes, indices."""
        return self.constant(np.array(values, np.int64))

    def number(self, value: float) -> str:
        """A float32 scalar."""
        return self.constant(np.array(value, np.float32))

    def linear(self, state: str, weight_NK: Any, name: str) -> str:
        """state · weightᵀ; state [..., K], weight a float32 tensor."""
        weight = self.constant(weight_NK.detach().float().t().contiguous().numpy(), f"{name}.weight")
        return self.op("MatMul", state, weight, name=name)

    def quantised_linear(self, state: str, weight_NK: Any, name: str, largest_weight: int = 127) -> str:
        """state · weightᵀ with 8-bit weights, one scale an output, and 8-bit activations, one scale a row.

        The runtime's own dynamic quantisation has one scale for the whole tensor, so that a pair's logits depend on
        its batch mates, and an outlier in one row costs all others their precision. `largest_weight` 63 keeps sums of
        two products within 16 bits.
        """
        weight = weight_NK.detach().float().numpy()
        scale_N = np.maximum(np.abs(weight).max(1), TINY) / largest_weight
        rounded_KN = np.round(weight / scale_N[:, None]).astype(np.int8).T
        largest = self.op("ReduceMax", self.op("Abs", state), self.integers(-1), keepdims=1)
        largest = self.op("Max", largest, self.number(TINY))
        scaled = self.op("Mul", state, self.op("Div", self.number(127.0), largest))
        middle = self.constant(np.array(128, np.uint8))
        bytes_ = self.op("QuantizeLinear", scaled, self.number(1.0), middle)
        whole = self.op(
            "MatMulInteger",
            bytes_,
            self.constant(rounded_KN, f"{name}.weight"),
            middle,
            self.zero_of_bytes(),
            name=name,
        )
        scale = self.constant((scale_N / 127).astype(np.float32), f"{name}.scale")
        return self.op("Mul", self.op("Mul", self.op("Cast", whole, to=1), scale), largest)

    def zero_of_bytes(self) -> str:
        """The zero point of weights."""
        return self.constant(np.array(0, np.int8))

    def rms_norm(self, state: str, weight_D: Any, epsilon: float, name: str) -> str:
        """RMS norm in the form that ONNX Runtime recognises and fuses."""
        square = self.op("Pow", state, self.number(2.0))
        mean = self.op("ReduceMean", square, self.integers(-1), keepdims=1)
        root = self.op("Sqrt", self.op("Add", mean, self.number(epsilon)))
        weight = self.constant(weight_D.detach().float().numpy(), f"{name}.weight")
        return self.op("Mul", self.op("Div", state, root), weight)

    def model(self, output: str) -> Any:
        """The finished model: `input_ids`, `attention_mask` int64 [batch, length] -> `logits` float32 [batch, 2]."""
        from onnx import TensorProto, helper

        self.nodes.append(helper.make_node("Identity", [output], ["logits"], name="logits"))
        axes = ["batch", "length"]
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.INT64, axes) for name in ("input_ids", "attention_mask")
        ]
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])
        graph = helper.make_graph(self.nodes, "reranker", inputs, [logits], self.constants)
        # Runtimes refuse a version of the file format newer than they are; this one suffices for the opset.
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
