"""`typing.NamedTuple`, whose classes are made in a third of the time: a short `kev run` makes a hundred before its guest runs.

The library compiles a constructor for each class; here, classes with as many fields share one. What they are and do is the same.
"""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING or sys.version_info >= (3, 14):
    from typing import NamedTuple as NamedTuple
else:
    from collections import _tuplegetter
    from types import FunctionType

    new = tuple.__new__
    _GLOBALS = {"new": new, "__builtins__": {}, "__name__": __name__}
    _COMPILED = (  # with this module, whose bytecode is kept: to compile one takes as long as to import a module
        lambda _cls, _0: new(_cls, (_0,)),
        lambda _cls, _0, _1: new(_cls, (_0, _1)),
        lambda _cls, _0, _1, _2: new(_cls, (_0, _1, _2)),
        lambda _cls, _0, _1, _2, _3: new(_cls, (_0, _1, _2, _3)),
        lambda _cls, _0, _1, _2, _3, _4: new(_cls, (_0, _1, _2, _3, _4)),
        lambda _cls, _0, _1, _2, _3, _4, _5: new(_cls, (_0, _1, _2, _3, _4, _5)),
        lambda _cls, _0, _1, _2, _3, _4, _5, _6: new(_cls, (_0, _1, _2, _3, _4, _5, _6)),
        lambda _cls, _0, _1, _2, _3, _4, _5, _6, _7: new(_cls, (_0, _1, _2, _3, _4, _5, _6, _7)),
        lambda _cls, _0, _1, _2, _3, _4, _5, _6, _7, _8: new(_cls, (_0, _1, _2, _3, _4, _5, _6, _7, _8)),
        lambda _cls, _0, _1, _2, _3, _4, _5, _6, _7, _8, _9: new(_cls, (_0, _1, _2, _3, _4, _5, _6, _7, _8, _9)),
    )
    _CONSTRUCTORS = {constructor.__code__.co_argcount - 1: constructor.__code__ for constructor in _COMPILED}
    """The code of a constructor, by the number of fields."""

    def _constructor(fields, defaults):
        code = _CONSTRUCTORS.get(len(fields))
        if code is None:
            names = "".join(f"_{index}, " for index in range(len(fields)))
            code = _CONSTRUCTORS[len(fields)] = eval(f"lambda _cls, {names}: new(_cls, ({names}))").__code__
        return FunctionType(code.replace(co_varnames=("_cls", *fields), co_name="__new__"), _GLOBALS, "__new__", defaults)

    class _Tuple(tuple):
        """What all of them have: as their own, because each base that Python looks through for special methods takes time."""

        @classmethod
        def _make(cls, iterable):
            result = tuple.__new__(cls, iterable)
            if len(result) != len(cls._fields):
                raise TypeError(f"Expected {len(cls._fields)} arguments, got {len(result)}")
            return result

        def _replace(self, /, **changes):
            result = self._make(map(changes.pop, self._fields, self))
            if changes:
                raise ValueError(f"Got unexpected field names: {list(changes)!r}")
            return result

        __replace__ = _replace

        def _asdict(self):
            return dict(zip(self._fields, self, strict=True))

        def __repr__(self):
            return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._asdict().items())})"

        def __getnewargs__(self):
            return tuple(self)

    _METHODS = {
        name: _Tuple.__dict__[name] for name in ("_make", "_replace", "__replace__", "_asdict", "__repr__", "__getnewargs__")
    }

    class _Maker(type):
        """Makes the class that a class statement describes."""

        def __new__(cls, name, bases, namespace):
            fields = tuple(namespace.get("__annotations__", ()))
            defaults = {field: namespace[field] for field in fields if field in namespace}
            if fields[len(fields) - len(defaults) :] != tuple(defaults):
                raise TypeError(f"{name}: a field without a default follows one that has one: {', '.join(fields)}")
            namespace.update((field, _tuplegetter(index, None)) for index, field in enumerate(fields))
            namespace["__slots__"] = ()
            namespace["_fields"] = namespace["__match_args__"] = fields
            namespace["_field_defaults"] = defaults
            namespace["__new__"] = _constructor(fields, tuple(defaults.values()))
            return type(name, (tuple,), {**_METHODS, **namespace})

    class NamedTuple:
        """Stands for itself in class statements only."""

        def __mro_entries__(self, _bases):
            return (_Described,)

    _Described = type.__new__(_Maker, "NamedTuple", (), {})
    NamedTuple = NamedTuple()
