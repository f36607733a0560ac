"""What a person looks at after a job: one self-contained HTML page each for mining, labelling and training.

Nothing is imported here: each stage imports its own report when it has finished.
"""
