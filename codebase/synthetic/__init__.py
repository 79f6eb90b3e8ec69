"""The miniature Human3.6M: who stands in which room, before which cameras, doing what."""
