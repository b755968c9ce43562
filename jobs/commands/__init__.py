"""The commands, one module a noun. Each imports only click and the standard library at its top."""
