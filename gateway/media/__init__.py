"""The media plane: RTP in and out, jitter, G.711, sample rates, play-out. NumPy over all calls at once, sans-IO."""
