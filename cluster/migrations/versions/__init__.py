"""A file for each revision of the store. One that was released is not changed any more."""
