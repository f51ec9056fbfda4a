"""Operations on jobs."""

from http import HTTPStatus
from typing import Any, Final

from starlette.responses import Response

from kev.race.strategy import NAMES
from kev.service.api import kinds
from kev.service.api.call import Body, Call
from kev.service.api.kinds import Member
from kev.service.api.operation import Answer, Operation, json_response, no_content
from kev.service.api.schemas import list_of, named
from kev.service.api.spec_kind import LARGEST_BODY, described_machine, spec_kind
from kev.service.errors import Invalid
from kev.spec.machine_spec import MachineSpec

_MOST_RUNS: Final = 10_000_000
_MOST_SECONDS: Final = 24 * 3600
_MOST_PROCESSES: Final = 64
_MOST_ROUNDS: Final = 1000
_PROGRAM: Final = r"^[A-Za-z0-9_][A-Za-z0-9_/-]{0,200}$"
"""No file's name: it begins with no slash, and has no dot in it."""

_OF: Final[dict[str, tuple[str, ...]]] = {
    "race": ("spec", "program", "runs", "seconds", "seed", "strategy", "depth", "preemptions", "after", "processes", "keep_going"),
    "bench": ("spec", "what", "rounds", "at"),
}
"""What a job of each kind takes."""

NEW_JOB: Final = kinds.record(
    {
        "kind": Member(kinds.choice("race", "bench"), "`race`: as `kev race explore`; `bench`: as `kev bench`.", required=True),
        "spec": Member(spec_kind(), "The machine that is explored or measured."),
        "program": Member(
            kinds.text(_PROGRAM), "race: a program for the pager, or the name of a broken pager, instead of a machine."
        ),
        "runs": Member(kinds.integer(1, _MOST_RUNS), "race: so many."),
        "seconds": Member(kinds.number(0.1, _MOST_SECONDS), "race: for so long."),
        "seed": Member(kinds.integer(0, (1 << 53) - 1), "race: what random choices come from."),
        "strategy": Member(kinds.choice(*NAMES), "race: how schedules are chosen."),
        "depth": Member(kinds.integer(1, 1000), "race, pct: how many ordered events the bug needs."),
        "preemptions": Member(kinds.integer(0, 1000), "race, exhaustive: the bound."),
        "after": Member(kinds.text(longest=1000), "race: begin every run where this condition is met."),
        "processes": Member(kinds.integer(1, _MOST_PROCESSES), "race: how many at once."),
        "keep_going": Member(kinds.flag(), "race: do not stop at the first failure."),
        "what": Member(kinds.choice("boot", "restore"), "bench: which one.", default="boot"),
        "rounds": Member(kinds.integer(1, _MOST_ROUNDS), "bench: how often each case is measured.", default=5),
        "at": Member(kinds.text(longest=1000), "bench, restore: where a guest is saved."),
    }
)


async def create_job(call: Call) -> Response:
    asked: dict[str, Any] = call.body
    takes = _OF[asked["kind"]]
    for name in asked:
        if name != "kind" and name not in takes:
            raise Invalid(f"{name}: a job of kind {asked['kind']} takes none", field=name, value=asked[name], limit=list(takes))
    if asked["kind"] == "race" and ("spec" in asked) == ("program" in asked):
        raise Invalid("spec: a race has either a machine or a program", field="spec", limit="one of spec and program")
    spec = described_machine(asked["spec"]) if "spec" in asked else MachineSpec()
    if asked["kind"] == "race" and "spec" in asked and not spec.image:
        raise Invalid("spec.image: is missing: a race is that of a guest", field="spec.image", limit="there")
    job = await call.service.jobs.create(asked, spec, trusted=call.trusted)
    return json_response(job.describe(), HTTPStatus.ACCEPTED, location=f"/v1/jobs/{job.id}")


async def list_jobs(call: Call) -> Response:
    return json_response({"jobs": [job.describe() for job in call.service.jobs]})


async def show_job(call: Call) -> Response:
    return json_response(call.service.jobs[call.path["job"]].describe())


async def delete_job(call: Call) -> Response:
    await call.service.jobs.delete(call.path["job"])
    return no_content()


OPERATIONS: Final = (
    Operation(
        "create_job",
        "POST",
        "/v1/jobs",
        "Begins a job, in a process of its own.",
        create_job,
        (Answer("The job.", named("Job"), status=HTTPStatus.ACCEPTED, headers={"Location": "Its path."}),),
        (HTTPStatus.TOO_MANY_REQUESTS,),
        body=Body(LARGEST_BODY, NEW_JOB),
        tag="jobs",
    ),
    Operation(
        "list_jobs", "GET", "/v1/jobs", "The jobs.", list_jobs, (Answer("The jobs.", list_of("jobs", named("Job"))),), tag="jobs"
    ),
    Operation("show_job", "GET", "/v1/jobs/{job}", "One job.", show_job, (Answer("The job.", named("Job")),), tag="jobs"),
    Operation(
        "delete_job",
        "DELETE",
        "/v1/jobs/{job}",
        "Cancels the job, if it is not over, and forgets it.",
        delete_job,
        (Answer("It is gone.", status=HTTPStatus.NO_CONTENT),),
        tag="jobs",
    ),
)
