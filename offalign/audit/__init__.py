"""Looks at data as a careful colleague would, before anything is trained.

`python -m offalign.audit PATH` prints the report; `audit` returns it. Rows
are read one after another and what is remembered of them is bounded, so that
a file may be larger than the memory. Importing this needs no jax.
"""

from offalign.audit.findings import Finding
from offalign.audit.methods_that_fit import Fit
from offalign.audit.run import AuditConfig, Report, audit

__all__ = ["AuditConfig", "Finding", "Fit", "Report", "audit"]
