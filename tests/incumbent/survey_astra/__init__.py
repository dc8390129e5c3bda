"""A stand-in for the survey's own Astra: its shapes and habits, in a few lines each. It is nobody's code but ours.

Its decorator keeps what it would write in `stored`; its models are bound to a database that refuses every query.
"""

import functools

__version__ = "0.8.0"

stored = []


def task(function):
    """Store what a pipeline yields, as its decorator does; whoever calls it through here has called the wrong one."""

    @functools.wraps(function)
    def wrapper(*arguments, **options):
        for name in ("write_to_database", "batch_size", "write_frequency", "re_raise_exceptions", "live", "group_by"):
            options.pop(name, None)
        for result in function(*arguments, **options):
            if result is not ...:
                stored.append(result)
                yield result

    return wrapper
