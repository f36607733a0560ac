"""The error a user can act on."""


class UserError(Exception):
    """Something the user can put right: one sentence that names file, line or field and says what to do.

    The command line prints the sentence alone, without a traceback, and exits with code 2.
    """
