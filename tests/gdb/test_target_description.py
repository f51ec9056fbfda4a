"""What debuggers are told of registers."""

import xml.etree.ElementTree as ElementTree

import pytest

from kev.gdb.target_description import ARCHITECTURES, I386, X86_64, Architecture

EACH = pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda architecture: architecture.name)


@EACH
def test_registers_are_described_in_the_order_in_which_they_are_sent(architecture: Architecture) -> None:
    target = ElementTree.fromstring(architecture.description)
    described = [(element.get("name"), element.get("bitsize")) for element in target.iter("reg")]
    assert described == [(register.name, str(register.bits)) for register in architecture.registers]
    assert target.findtext("architecture") == architecture.name


@EACH
def test_every_type_is_gdbs_or_defined_in_its_feature(architecture: Architecture) -> None:
    known = {"int", "int32", "int64", "code_ptr", "data_ptr", "i387_ext"}
    for feature in ElementTree.fromstring(architecture.description).iter("feature"):
        defined = {element.get("id") for element in feature if element.tag != "reg"}
        assert {element.get("type") for element in feature.iter("reg")} <= known | defined


def test_the_registers_that_stop_replies_carry_are_those() -> None:
    assert [I386.registers[number].name for number in (I386.pc, I386.sp, I386.fp)] == ["eip", "esp", "ebp"]
    assert [X86_64.registers[number].name for number in (X86_64.pc, X86_64.sp, X86_64.fp)] == ["rip", "rsp", "rbp"]
