"""auto-gptq where it is not installed yet: is there a wheel, and what does building it take?"""

from collections.abc import Iterator

from qtool.doctor import facts
from qtool.doctor.case import Case
from qtool.doctor.finding import Confidence, Finding, Fix, Goal, Severity
from qtool.doctor.fixes import build_gptq, modern, python_is_within, some
from qtool.doctor.rules.gptq import is_unsupported_system
from qtool.doctor.snapshot import UNKNOWN
from qtool.doctor.versions import is_within
from qtool.language.message import say


def no_wheel_for_python(case: Case) -> Iterator[Finding]:
    """Report a Python for which there is no wheel of auto-gptq."""
    python = case.snapshot.python
    pythons = facts.fact("auto_gptq", "wheel_pythons")
    if python is UNKNOWN or is_within(python, pythons) or not _would_install(case):
        return
    yield Finding(
        code="GPTQ-NO-WHEEL-FOR-PYTHON",
        severity=_severity_of_no_wheel(case),
        title=say("There is no auto-gptq wheel for Python {python}", python=python),
        explanation=say(
            "The wheels of auto-gptq are for Python 3.8 to 3.11; on Python {python} pip falls "
            "back to the source distribution, which has to be compiled and whose kernels were "
            "never made for a newer Python.",
            python=python,
        ),
        evidence=(f"Python {python}; wheels: cp38 to cp311",),
        fixes=some(modern(case), _python_311(case), build_gptq(case)),
    )


def _severity_of_no_wheel(case: Case) -> Severity:
    """Nobody needs auto-gptq where gptqmodel does the same."""
    is_needed = case.goal is Goal.GPTQ and modern(case) is None
    return Severity.ERROR if is_needed else Severity.WARNING


def _severity_of_building(case: Case) -> Severity:
    """Who could run GPTQ by gptqmodel need not build anything, nor need who has no GPU for it."""
    is_detour = case.goal is Goal.GPTQ and modern(case) is not None
    return Severity.INFO if is_detour or case.has_no_gpu else Severity.WARNING


def _python_311(case: Case) -> Fix | None:
    if case.driver_runs(12) is False or any(one > (9, 0) for one in case.capabilities):
        return None
    activate = (
        "auto-gptq-env\\Scripts\\activate" if case.is_windows else ". auto-gptq-env/bin/activate"
    )
    return Fix(
        say("A separate environment with python 3.11 and the torch of auto-gptq's kernels"),
        (
            "uv venv --python 3.11 --seed auto-gptq-env",
            activate,
            'python -m pip install torch==2.2.2 "numpy<2" transformers==4.49.0 optimum==1.23.3 '
            '"accelerate<1.4" "peft<0.15" auto-gptq==0.7.1',
        ),
    )


def _would_install(case: Case) -> bool:
    """Tell whether the user is about to install auto-gptq: it is absent and of use."""
    if is_unsupported_system(case) or not case.lacks("auto-gptq") or case.has("gptqmodel"):
        return False
    if case.has_within("transformers", facts.fact("transformers", "gptq_only_gptqmodel")):
        return False
    return case.goal in (Goal.GPTQ, Goal.BUILD) and case.has("torch")


def _would_build(case: Case) -> bool:
    """Tell whether auto-gptq has to be compiled here: no wheel, or none for this torch."""
    here = [case.snapshot.os.system, case.snapshot.os.arch]
    has_wheel = here in facts.fact("auto_gptq", "wheel_platforms") and python_is_within(
        case, facts.fact("auto_gptq", "wheel_pythons")
    )
    last = facts.built_for("auto-gptq", facts.fact("auto_gptq", "last_version"))
    is_usable = has_wheel and last is not None and is_within(case.torch_version, last.torch)
    return _would_install(case) and (case.goal is Goal.BUILD or not is_usable)


def sdist_version(case: Case) -> Iterator[Finding]:
    """Warn of the local version that pip refuses when auto-gptq is built."""
    if not _would_build(case) or case.has_cpu_torch:
        return
    yield Finding(
        code="GPTQ-SDIST-VERSION",
        severity=_severity_of_building(case),
        title=say('Building auto-gptq stops at "inconsistent version" unless PYPI_RELEASE is set'),
        explanation=say(
            "Its setup.py adds the CUDA version to its own version, and pip refuses what it asked "
            "for by another name: \"expected '0.7.1', but metadata has '0.7.1+cu121'\". With "
            "PYPI_RELEASE=1 it keeps the plain version."
        ),
        evidence=(f"torch {case.torch_version} with CUDA; auto-gptq would be built from source",),
        fixes=some(build_gptq(case), modern(case)),
        confidence=Confidence.POSSIBLE,
    )


def build_isolation(case: Case) -> Iterator[Finding]:
    """Warn that auto-gptq's build needs the torch of the environment."""
    if not _would_build(case):
        return
    yield Finding(
        code="GPTQ-BUILD-ISOLATION",
        severity=_severity_of_building(case),
        title=say("Building auto-gptq needs --no-build-isolation"),
        explanation=say(
            "Its setup.py imports torch, which pip's isolated build environment does not have "
            "(\"No module named 'torch'\"); and kernels must be compiled against the very torch "
            "they shall run on."
        ),
        evidence=(f"torch {case.torch_version} is installed; auto-gptq would be built",),
        fixes=some(build_gptq(case), modern(case)),
        confidence=Confidence.POSSIBLE,
    )


RULES = (no_wheel_for_python, sdist_version, build_isolation)
