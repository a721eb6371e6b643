"""Bulk work: a Parquet data set of any size to one with answers, on Ray Data or in one process.

It stands beside `app` and uses its wiring; `app` knows nothing of it.
"""
