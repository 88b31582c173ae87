"""The GPU implementation. One kernel a file, each the equal of a function of `chunked/` with the same name."""
