"""Shows the examples of docstrings as code in the API reference.

An example begins with `>>>` and ends with an empty line. The site reads docstrings as Markdown, in
which an example would be nested quotations, and the output `['emails']` a link.
"""

import re

from griffe import Extension, GriffeLoader, Object

EXAMPLE = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)


class ExamplesAsCode(Extension):
    """Puts fences around examples, and an empty line before."""

    def on_object(self, *, obj: Object, loader: GriffeLoader, **kwargs: object) -> None:
        """Change the docstring of a module, class or function, as the site reads it."""
        if obj.docstring:
            obj.docstring.value = with_fences(obj.docstring.value)


def with_fences(docstring: str) -> str:
    """Return a docstring with its examples as blocks of code."""
    return EXAMPLE.sub(r"\n```pycon\n\g<0>\n```", docstring)
