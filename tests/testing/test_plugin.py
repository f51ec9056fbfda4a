"""The fixture `guest`, used by tests of pytest's own."""

import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

pytestmark = pytest.mark.slow

pytest_plugins = ["pytester"]


@pytest.fixture
def run(pytester: pytest.Pytester):  # type: ignore[no-untyped-def]
    """Runs the tests in a text."""

    def run_tests(text: str, *arguments: str) -> pytest.RunResult:
        pytester.makepyfile(text)
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:schemathesis", *arguments)

    return run_tests


def test_a_guest_is_started_talked_to_and_ended(run) -> None:  # type: ignore[no-untyped-def]
    result = run("""
        def test_boot(guest):
            machine = guest("echo")
            machine.expect("echo> ", timeout=30)
            machine.send("hello\\n")
            machine.expect("you said: hello")

        def test_two(guest):
            first, second = guest("gKeOS"), guest("smp", vcpus=2)
            assert first.wait().exit_code == second.wait().exit_code == 0
    """)
    result.assert_outcomes(passed=2)


def test_a_marked_test_finds_its_machine_started(run) -> None:  # type: ignore[no-untyped-def]
    result = run("""
        import pytest

        @pytest.mark.guest("echo")
        def test_by_position(guest):
            guest.expect("echo> ")

        @pytest.mark.guest(image="smp", vcpus=2)
        class TestByKeyword:
            def test_boot(self, guest):
                assert guest.wait().exit_code == 0
                assert guest.vcpus == 2
    """)
    result.assert_outcomes(passed=2)


RACES = """
    import pytest
    from kev.race import races

    @pytest.fixture
    def page(request):
        assert request.node.get_closest_marker("trio") is None
        return 1

    @pytest.mark.trio
    @races(runs=20)
    async def test_marked(vcpu, page):
        await vcpu.read(page)

    @races(runs=20)
    @pytest.mark.trio
    async def test_marked_before(vcpu):
        await vcpu.read(0)

    @pytest.mark.trio
    class TestMethods:
        @pytest.mark.parametrize("count", [1, 2])
        @races(runs=20)
        async def test_method(self, vcpu, count, page):
            assert isinstance(self, TestMethods)
            await vcpu.prefetch(0, count)

    @races(runs=20)
    async def test_fails(vcpu):
        assert False, "as it should"
"""


@pytest.mark.parametrize("mode", ["true", "false"])
def test_race_tests_are_ordinary_tests_whatever_they_are_marked(run, mode: str) -> None:  # type: ignore[no-untyped-def]
    result = run(RACES, "-o", f"trio_mode={mode}", "-W", "error")
    result.assert_outcomes(passed=4, failed=1)


def test_a_race_s_token_is_a_property_of_the_test_s_report(run, pytester: pytest.Pytester) -> None:  # type: ignore[no-untyped-def]
    run(RACES, "--junitxml=report.xml", "-k", "fails")
    tree = ET.parse(pytester.path / "report.xml")
    values = [element.get("value", "") for element in tree.iter("property") if element.get("name") == "kev_race_token"]
    assert [value[:5] for value in values] == ["kev1-"]


def test_a_failure_shows_console_places_and_last_exits(run) -> None:  # type: ignore[no-untyped-def]
    result = run("""
        import pytest

        @pytest.mark.guest("echo")
        def test_login(guest):
            guest.expect("echo> ")
            guest.send("hello\\n")
            guest.expect("you said")
            guest.expect("login:", timeout=0.1)
    """)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*ExpectError: echo: 'login:' was not printed within 0.1 s; the last line is 'echo>'*",
            "*guest echo: console*",
            "echo> you said: hello",
            "*guest echo: vCPUs*",
            "vCPU 0 at RIP * in *",
            "*guest echo: last exits*",
            "vCPU 0 * IoIn port 0x3fd size 1",
        ]
    )


def test_a_guest_that_dies_says_why_in_the_failure(run) -> None:  # type: ignore[no-untyped-def]
    result = run("""
        import pytest

        @pytest.mark.guest("echo")
        def test_crash(guest):
            guest.expect("echo> ")
            guest.send("crash\\n")
            guest.expect("never")
    """)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*before the run ended (vCPU 0 at RIP * triple fault*", "ended: vCPU 0 at RIP * triple fault*"])


def test_tests_of_trio_hold_machines_too(run) -> None:  # type: ignore[no-untyped-def]
    result = run(
        """
        async def test_boot(guest):
            async with guest.start("echo") as machine:
                await machine.expect("echo> ")
                machine.send("exit 3\\n")
                assert (await machine.wait()).exit_code == 3

        async def test_failure(guest):
            async with guest.start("echo") as machine:
                await machine.expect("nothing", timeout=0.1)
        """,
        "-o",
        "trio_mode=true",
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*guest echo: console*", "echo> *"])


def test_a_guest_that_hangs_is_ended_by_the_limit_of_the_configuration(run) -> None:  # type: ignore[no-untyped-def]
    result = run(
        """
        def test_hang(guest):
            assert guest("spin").wait().exit_code == 124
        """,
        "-o",
        "kev_timeout=0.05",
    )
    result.assert_outcomes(passed=1)


def test_a_machine_without_a_mark_is_asked_for_by_name(run) -> None:  # type: ignore[no-untyped-def]
    result = run("""
        def test_forgotten(guest):
            guest.expect("x")
    """)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*the fixture `guest` has no 'expect': start a machine, or mark the test with `guest`*"])


def test_workers_of_xdist_boot_guests_in_parallel(run) -> None:  # type: ignore[no-untyped-def]
    pytest.importorskip("xdist")
    result = run(
        """
        import pytest

        @pytest.mark.parametrize("number", range(8))
        def test_boot(guest, number):
            assert guest("gKeOS").wait().exit_code == 0
        """,
        "-n",
        "2",
    )
    result.assert_outcomes(passed=8)


def test_without_the_fixture_nothing_of_the_hypervisor_is_imported() -> None:
    program = (
        "import sys, kev.testing.plugin; print(*sorted(m for m in sys.modules if m.startswith(('kev', 'trio', 'attr', 'unicorn'))))"
    )
    modules = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}; {program}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert [module for module in modules if module.startswith("kev")] == ["kev", "kev.testing", "kev.testing.plugin", "kev.version"]
    assert "trio" not in modules


def test_a_mark_without_an_image_says_what_is_missing(run) -> None:  # type: ignore[no-untyped-def]
    result = run("""
        import pytest

        @pytest.mark.guest
        def test_nothing(guest):
            pass

        @pytest.mark.guest("echo", "spin")
        def test_two(guest):
            pass
    """)
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["E *MarkError: the mark `guest` names one image, as `@pytest.mark.guest(IMAGE)`, not 0"])
    result.stdout.fnmatch_lines(["E *MarkError: the mark `guest` names one image, as `@pytest.mark.guest(IMAGE)`, not 2"])
