"""Families of foreign token mixers, one file each; `Adapter.kinds()` finds them, and those of installed packages."""
