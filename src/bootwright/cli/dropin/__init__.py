"""The field's own command lines, taken verbatim: same files out, same exit codes, messages that scripts recognise."""
