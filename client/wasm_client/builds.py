"""Says in words why a policy refuses an enclave that was built differently."""

from __future__ import annotations

from schannel.errors import LocalError, PolicyError

_BUILDS = ("monitor.measurements", "enclave.measurements")
_READ_ON = 'docs/confidential.md, "When client and host were built differently", says what to do'


def explained(error: PolicyError) -> str:
    """The refusal; where it is about a measurement, with what differs from the installation here."""
    if error.rule not in _BUILDS:
        return str(error)
    return f"{error}; {_compared(error.build)}; {_READ_ON}"


def _compared(build: str) -> str:
    if not build:
        return "it does not say what it was built from: perhaps another release, or another program"
    # Loads cryptography, without which commands must be able to say that it is missing.
    from schannel.builds import describe, differences
    from schannel.measurement import installed_image

    try:
        image = installed_image()
    except LocalError as failure:
        return f"it cannot be compared with what is installed here ({failure})"
    ours = describe(image.loader, image.files())
    said = "by what the host's enclave says of itself, which proves nothing"
    found = differences(ours, build)
    if not found:
        return f"{said}, it is the release that is installed here, so it is the policy that lists another"
    return f"{said}, it differs from what is installed here: {'; '.join(found)}"
