"""The groups of an application's SMP server that do not touch the flash, a module each."""
