"""What runs, how far, until when: read from the files of a run, and asked of the scheduler where there is one.

Free of heavy imports: it answers on a login node in less than a second, and never waits for a scheduler that hangs.
"""
