"""The Codegen dialect."""
