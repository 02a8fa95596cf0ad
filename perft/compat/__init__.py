"""What perft uses of its libraries beyond what they document: one module for each library.

Such an interface may be renamed by any release. So each is named here once, with its purpose, and
looked up when the module is imported: where it is gone, `LibraryError` says which version was found
and which one was tested, before anything is computed with it. No other module of perft uses one.
"""
