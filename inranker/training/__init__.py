"""Training a student on labels: Ray Train and DeepSpeed around one small loop.

`loop.train(config)` is the stage. It is the only module here that imports Ray: order, data, losses, step, checkpoint
and the worker's loop run and are tested without a cluster.
"""
