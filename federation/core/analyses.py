"""Questions that are asked of the record again and again, as SQL that every engine of ours understands alike. Pure."""

from __future__ import annotations

from federation.core import errors

#: What each namespace owes for each month. A correction is a row of its own, so a sum holds it; it is shown beside, too.
CHARGEBACK = """
SELECT namespace, month,
  COUNT(*) AS entries,
  SUM(bytes) AS bytes,
  SUM(charge_micros) AS charge_micros,
  SUM(CASE WHEN corrects = '' THEN 0 ELSE charge_micros END) AS corrections_micros,
  SUM(charge_usd) AS charge_usd,
  SUM(COALESCE(avoided_micros, 0)) AS avoided_micros
FROM egress_ledger
GROUP BY namespace, month
ORDER BY namespace, month
"""

#: What went over each link in each month, and what was expected of it.
LINKS = """
SELECT source_region, destination_region, month,
  COUNT(*) AS entries,
  SUM(bytes) AS bytes,
  SUM(requests) AS requests,
  SUM(charge_micros) AS charge_micros,
  SUM(estimate_micros) AS estimate_micros,
  SUM(unsettled_bytes) AS unsettled_bytes
FROM egress_ledger
GROUP BY source_region, destination_region, month
ORDER BY source_region, destination_region, month
"""

#: How often and by how many runs each version was read and written.
VERSIONS = """
SELECT node, direction,
  COUNT(DISTINCT run) AS runs,
  SUM(bytes) AS bytes,
  MIN(time) AS first_time,
  MAX(time) AS last_time
FROM lineage_edges
GROUP BY node, direction
ORDER BY node, direction
"""

ALL = {"chargeback": CHARGEBACK, "links": LINKS, "versions": VERSIONS}


def named(name: str) -> str:
    """The SQL of an analysis; InvalidArgument (ANALYSIS_UNKNOWN) names those there are."""
    if name not in ALL:
        raise errors.InvalidArgument(
            f"there is no analysis {name!r}", reason="ANALYSIS_UNKNOWN", help=f"There are: {', '.join(ALL)}."
        )
    return ALL[name]
