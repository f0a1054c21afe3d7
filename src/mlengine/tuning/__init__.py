"""Tuning: what to try next, when to stop trying it, and the books of what was tried.

`problem` and `search` are a library: values in, values out, no clock, no process, no records.
`studies` keeps the books of it in the store. Nothing here knows what a job is.
"""
