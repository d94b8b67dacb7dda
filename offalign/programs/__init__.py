"""The programs: flags -> one call of the library. Nothing imports them."""
