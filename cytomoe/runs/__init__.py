"""The jobs of cytomoe from files to a folder of results: cluster, predict, evaluate.

The only room that knows all the others. It knows nothing of the command line: progress and messages go to callbacks.
"""
