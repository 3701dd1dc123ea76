"""Other forms of a merged model, for other programs: GGUF for llama.cpp, int8 compressed-tensors for vLLM.

Each format is written by a module of its own, which also reads it back as a model, so that `loss` can measure what the
new form costs before anybody relies on it. Nothing here knows of workspaces or configurations.
"""
