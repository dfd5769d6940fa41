"""The vocabulary: the wire types of every domain, one file each.

Only msgspec Structs live here. They are what the services return, what ``--json`` prints and what
rows decode to; nothing in this package has behaviour beyond a property that rewords its own fields.
"""
