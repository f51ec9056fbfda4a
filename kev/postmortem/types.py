"""Types of variables: which member of which structure lies at an offset (DWARF 5, chapter 5)."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final, NamedTuple

from kev.postmortem.cursor import Cursor

_STRUCTURES: Final = {
    "DW_TAG_structure_type": "struct",
    "DW_TAG_union_type": "union",
    "DW_TAG_class_type": "class",
}
_QUALIFIERS: Final = frozenset(
    {"DW_TAG_const_type", "DW_TAG_volatile_type", "DW_TAG_restrict_type", "DW_TAG_atomic_type", "DW_TAG_typedef"}
)
_DEEPEST: Final = 64
_MOST_MEMBERS: Final = 10_000


class Leaf(NamedTuple):
    """The smallest part of a variable that holds all of an access."""

    path: str
    """Behind the variable's name: `[1].balance.cents`; of bit-fields that share the bytes, `.{dirty, locked}`."""
    type: str | None
    owner: str | None
    """The structure whose member it is."""


def leaf_of(variable: Any, offset: int, size: int) -> Leaf:
    """The part of `variable`, an entry of pyelftools, that `size` bytes at `offset` belong to."""
    path, owner = "", None
    type = _type_of(_origin(variable))
    for _ in range(_DEEPEST):
        plain = _unqualified(type)
        if plain is None:
            break
        if plain.tag == "DW_TAG_array_type":
            index, inside = _element(plain, offset, size)
            if index is None:
                break
            path, offset, type = path + index, inside, _type_of(plain)
        elif plain.tag in _STRUCTURES:
            member = _member(plain, offset, size)
            if member is None:
                break
            fields = [_name(field) for field in _bit_fields(plain, offset, size)] if _is_bit_field(member) else []
            name = f"{{{', '.join(fields)}}}" if len(fields) > 1 else fields[0] if fields else _name(member)
            path, offset = f"{path}.{name}" if name else path, 0 if fields else offset - _begin(member)
            owner = _type_name(type) if name or owner is None else owner
            type = _type_of(member)
        else:
            break
    return Leaf(f"{path}+{offset:#x}" if offset else path, _type_name(type), owner)


def _origin(entry: Any) -> Any:
    """Where the type of a variable is said: in its declaration, if it has one apart."""
    for _ in range(_DEEPEST):
        key = next((key for key in ("DW_AT_specification", "DW_AT_abstract_origin") if key in entry.attributes), None)
        if "DW_AT_type" in entry.attributes or key is None:
            break
        entry = entry.get_DIE_from_attribute(key)
    return entry


def _type_of(entry: Any) -> Any:
    return entry.get_DIE_from_attribute("DW_AT_type") if "DW_AT_type" in entry.attributes else None


def _unqualified(type: Any) -> Any:
    for _ in range(_DEEPEST):
        if type is None or type.tag not in _QUALIFIERS:
            break
        type = _type_of(type)
    return type


def _name(entry: Any) -> str:
    name = entry.attributes.get("DW_AT_name")
    return name.value.decode("utf-8", "replace") if name is not None and isinstance(name.value, bytes) else ""


def _type_name(type: Any) -> str | None:
    """As C writes it, without qualifiers."""
    stars = ""
    for _ in range(_DEEPEST):
        if type is None:
            return f"void {stars}" if stars else None
        if type.tag in _STRUCTURES or type.tag == "DW_TAG_enumeration_type":
            name = _name(type)
            return f"{_STRUCTURES.get(type.tag, 'enum')} {name}{' ' if stars else ''}{stars}".strip()
        if type.tag == "DW_TAG_pointer_type":
            stars += "*"
        elif type.tag == "DW_TAG_array_type":
            return f"array of {_type_name(_type_of(type))}"
        elif type.tag == "DW_TAG_subroutine_type":
            return "function pointer" if stars else "function"
        elif _name(type):
            return f"{_name(type)} {stars}".strip()
        type = _type_of(type)
    return None


def _size(type: Any) -> int:
    """In bytes; 0 if it is not known."""
    type = _unqualified(type)
    if type is None:
        return 0
    size = type.attributes.get("DW_AT_byte_size")
    if size is not None and isinstance(size.value, int):
        return size.value
    if type.tag == "DW_TAG_array_type":
        size = _size(_type_of(type))
        for length in _lengths(type):
            size *= length
        return size
    return 8 if type.tag == "DW_TAG_pointer_type" else 0


def _lengths(array: Any) -> list[int]:
    """Of its dimensions; 0 for one that has no bound."""
    lengths = []
    for dimension in islice(array.iter_children(), _DEEPEST):
        if dimension.tag == "DW_TAG_subrange_type":
            count, last = dimension.attributes.get("DW_AT_count"), dimension.attributes.get("DW_AT_upper_bound")
            length = count.value if count is not None else last.value + 1 if last is not None and isinstance(last.value, int) else 0
            lengths.append(length if isinstance(length, int) else 0)
    return lengths


def _element(array: Any, offset: int, size: int) -> tuple[str | None, int]:
    """The indices of the element that holds all of an access, and the offset in that; None if there is no such element."""
    each = _size(_type_of(array))
    lengths = _lengths(array)
    if not each or not lengths or offset % each + size > each:
        return None, offset
    number, inside = divmod(offset, each)
    indices = []
    for length in reversed(lengths[1:]):
        number, index = divmod(number, length) if length else (number, 0)
        indices.append(f"[{index}]")
    indices.append(f"[{number}]")
    return "".join(reversed(indices)), inside


def _begin(member: Any) -> int:
    """Its offset in the structure, in bytes."""
    location = member.attributes.get("DW_AT_data_member_location")
    if location is not None:
        return location.value if isinstance(location.value, int) else _constant(location.value)
    bits = member.attributes.get("DW_AT_data_bit_offset")
    return bits.value // 8 if bits is not None and isinstance(bits.value, int) else 0


def _is_bit_field(member: Any) -> bool:
    return "DW_AT_bit_size" in member.attributes


def _bit_fields(structure: Any, offset: int, size: int) -> Iterator[Any]:
    """The members that have bits among `size` bytes at `offset`."""
    for member in islice(structure.iter_children(), _MOST_MEMBERS):
        if member.tag == "DW_TAG_member" and _is_bit_field(member) and _name(member):
            first, width = _first_bit(member), member.attributes["DW_AT_bit_size"].value
            if first < 8 * (offset + size) and 8 * offset < first + width:
                yield member


def _first_bit(member: Any) -> int:
    """Of a bit-field, from the beginning of the structure. DWARF 2 and 3 count from the highest bit of its unit."""
    bits = member.attributes.get("DW_AT_data_bit_offset")
    if bits is not None:
        return int(bits.value)
    before = member.attributes.get("DW_AT_bit_offset")
    unit = member.attributes.get("DW_AT_byte_size")
    size = unit.value if unit is not None else _size(_type_of(member))
    width = member.attributes["DW_AT_bit_size"].value
    return int(8 * _begin(member) + (0 if before is None else 8 * size - before.value - width))


def _constant(expression: Any) -> int:
    """DW_OP_plus_uconst, by which DWARF 2 gives offsets."""
    return Cursor(bytes(expression), 1).uleb128()


def _member(structure: Any, offset: int, size: int) -> Any:
    """The member that holds all of an access; of a union, the smallest one."""
    found: list[tuple[bool, int, int, Any]] = []
    for member in islice(structure.iter_children(), _MOST_MEMBERS):
        if member.tag in ("DW_TAG_member", "DW_TAG_inheritance"):
            begin, length = _begin(member), _size(_type_of(member))
            unbounded = not length and begin <= offset
            if begin <= offset and (unbounded or offset + size <= begin + length):
                found.append((not length, length, len(found), member))
    return min(found, key=lambda one: one[:-1])[-1] if found else None
