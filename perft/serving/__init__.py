"""Serves a base and many adapters on it by HTTP, as OpenAI's interface has it.

`batch` writes tokens, `engine` decides who is in the batch, `app` speaks HTTP, `server` starts and
ends. All tensor work is done by one thread; everything else runs on one event loop.
"""
