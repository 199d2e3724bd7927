"""What is kept of calls when they are over: their recordings.

::

    calls ──int16[2, samples]──> Recording.write ─ queue ─> one thread ─> AudioFile ─> NAME.part ─> NAME

Nothing in here holds up a call: what the disk does not take in time is given up, with a word in the log.
"""
