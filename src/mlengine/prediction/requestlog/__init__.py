"""What callers asked and were answered, kept as rows of tables: written, read, labelled.

    tables/PROJECT/DATASET/TABLE/2026-11-21/101500-1f0c9a-0000.jsonl        a part, closed
                                           /111502-1f0c9a-0001.jsonl.open   one that is written
                                           /labels.jsonl                    what became of its rows

    ids     the names of predictions; each holds its day
    rows    what a row is
    parts   files of rows: whole lines only, whoever dies
    writer  the gateway's thread that writes them
    tables  the engine's reading of them, with labels joined

A gateway writes, an engine reads and labels; neither waits for the other. A day's folder holds the
rows of the predictions that were named on that day, so a label is looked for in one folder.
"""
