"""Doors for clients of other servers: FunASR's, whisper-asr-webservice's, and Home Assistant's Wyoming.

A request is a job like the page's, and is gone from the journal once answered.
"""
