"""What jobs over units of work share, whatever the work: the graph on Ray Data, attempts, progress, plan, resume.

Labelling scores pairs and synthesis answers prompts; each brings its three steps (prepare, the actors' work, commit)
and its noun. The commit protocol itself is `inranker.units`. Only `jobs.graph` imports Ray.
"""
