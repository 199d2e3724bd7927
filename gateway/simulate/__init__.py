"""Callers that are programs: the demo's telephone, load, scripted callers. Real SIP and RTP, nothing pretended."""
