"""Errors that are the user's to mend."""

from __future__ import annotations


class UserError(ValueError):
    """Wrong input from outside; the message names the input and the fix.

    The command line prints the message alone and exits with status 2, without a traceback.
    """
