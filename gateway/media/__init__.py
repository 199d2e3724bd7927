"""The media plane: RTP, jitter, G.711 and G.722, sample rates, play-out. NumPy over all calls at once, sans-IO."""
