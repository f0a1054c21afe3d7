"""Tuning jobs: a study's books, and a job inside for each of its trials.

`lifecycle` decides, `tuningjobs` performs; `children` says what a trial's job runs, `reports` what
it has measured, `books` keeps both in the study, `output` and `words` tell people of it.
"""
