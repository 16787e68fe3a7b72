"""The engine's tests survive a change of its inside: they import public names."""

from checks import public_imports

TOO_MANY = "test by public names, or raise a limit in checks/public_imports.py, and say why"


def test_few_files_import_what_is_not_public() -> None:
    """Anyone who moves or renames a module of the engine changes these, and no others."""
    found = public_imports.private_imports()

    assert len(found) <= public_imports.FILES, (TOO_MANY, sorted(map(str, found)))


def test_what_they_need_of_the_inside_does_not_grow() -> None:
    """Or any test could reach anything through the one door."""
    found = public_imports.private_imports()
    names = {name for file, names in found.items() for name in names if _is_inside(file)}

    assert len(names) <= public_imports.NAMES, (TOO_MANY, len(names))


def _is_inside(file: object) -> bool:
    return str(file).startswith(str(public_imports.INSIDE))
