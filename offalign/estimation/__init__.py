"""What a policy is worth, from a log that another policy wrote.

`estimators` has the estimates and their intervals, in numpy alone; `log` the
evidence that they are made of: rewards, and how much likelier the new policy
is to write each logged completion.
"""

from offalign.estimation.estimators import Estimate, Evidence, Report, estimate
from offalign.estimation.log import from_log

__all__ = ["Estimate", "Evidence", "Report", "estimate", "from_log"]
