"""The undocumented interfaces of libraries that perft uses: one module for each library.

Any release may rename such an interface. So each is named here once, with its purpose, and looked
up at import: if it is gone, `LibraryError` names the version found and the version tested, before
anything is computed. No other module of perft uses one.
"""
