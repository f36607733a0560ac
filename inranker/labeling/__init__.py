"""The label factory: a teacher's logits for every pair, nothing lost, nothing twice."""
