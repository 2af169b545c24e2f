// Package oracle answers the query language slowly and obviously: it reads
// SEMANTICS word by word over plain slices of events, and shares no code with the
// engine but the parser. Only tests import it. They compare the engine's answers
// with the oracle's on random events and questions.
//
// In the way of an event it stands beside the engine, and behind it: what the
// engine says of an event that was stored must be what the oracle says of the
// same event in a slice.
//
// Where the contract leaves a detail open, this table decides, and the engine follows it.
//
//	All kinds
//	range             events outside [from, to) do not exist, but for: funnel steps, experiment goals with `within` and
//	                  retention's returns after it; attribution touches and lifecycle's history before it
//	where, user       filter every event that is looked at: steps, sessions, touches, exclusions, nevers, history
//	null              an explicit null exists and equals null; everywhere else (by, top, distinct, holding, per, touch) it is missing
//	object, array     an object with members has no value of its own, its members have; arrays and empty objects are values
//	                  that exist, group by their JSON and compare with nothing
//	user "x"          the person of userId x, else the person that anonymousId x belongs to
//	user.x            of each member of the traits the value of the latest call of the person's ids, by time, then the log: members
//	                  are set whole. It is the same for all events of the person
//	duplicates        a duplicate says nothing: it links no ids either
//	same spelling     a userId and an anonymousId of one spelling are two persons of one name
//	order of events   time, then the log. The answer to `events`: time, then eventId. Events of the very same microsecond of
//	                  persons who were merged only after both were stored have no promised order
//	order of groups   size (largest first), then key: missing, booleans, numbers, times, texts by bytes, other JSON
//	size of a group   trend: events of the series (of a ratio: of both sides); funnel: units that reached step 1;
//	                  retention: persons summed over cohorts; sessions: sessions; attribution: conversions
//	other             key null per field; sums up the events of the groups that are left out, so persons count once
//	buckets           every period that the range touches, empty ones too; t is its beginning in tz, before `from` if it is cut
//	calendar          weeks from Monday; a day begins at the first moment that has its date; a change of the clock ends an hour
//	every 6h          multiples of the duration since 1970-01-01T00:00Z, whatever tz
//	quantiles         linear between the nearest two, place p*(n-1); the median of an even count is the mean of the middle two
//	rates of nothing  shares and conversions are 0; means, medians and ratios are null
//
//	Funnel
//	counted chain     from each start the deepest chains; over all starts: deepest, then first complete, then latest start, then
//	                  first in the log; of that start the one with most optional steps, then the earliest events step by step
//	median_seconds    of step k: over its users, from the start of the first chain that took step k (latest start) to it
//	time_to_convert   the same for the last step; null without conversions. Histogram: at most 20 bins of equal width
//	                  ceil((max-min)/20) µs from the minimum, the last with its end; one bin if all are equal
//	conversion        users / users of step 1; step_conversion: / users of the nearest required step before, 1 for step 1
//	optional          does not make a chain deeper. users: units of which a deepest chain holds the step. A step passed by has
//	                  the key null
//	too many ties     where one person's events of one time make more than a million ways to count, the engine counts the same
//	                  steps, but of a strict funnel's times and of a breakdown's values may take those of other events of that time
//	strict            events of one time may stand in any order: those beside the first and the last event of a chain do no
//	                  harm, any that is left over at a time between does
//	order any         step k is the k-th event of the chain, whichever it serves; optional steps stay what they are. `by` and
//	                  `excluding` count in the same way. The earliest event lies in the range
//	excluding         x voids a chain at a time strictly after step i and strictly before step j; of a chain that has step i and
//	                  not j, up to the end of its window. A start all of whose deepest chains are void counts for no step; another
//	                  start may still count. A step passed by stands for the next step that the chain holds
//	holding, per f    steps and starts have the values; strict and excluding see all other events of the person too
//	per session       sessions of all events of the person; chains, strict and excluding see one session
//	never             leaves out the person, with all sessions and values
//	open              counted units short of the last step, of which a start that counts has start + within > data_through; a
//	                  session must still run: last event + gap > data_through. data_through is the latest event time stored
//	every             each period as if it were the range; a unit counts in every period in which it enters
//	by and every      each group has points; keys that appear in a period alone make a group of size 0
//
//	Trend             sum of nothing 0; distinct counts types apart, 1 and 1.0 are one; a ratio has the groups of both sides
//	Retention         one row per period, also empty, with all columns; returns count in whole periods, the cut first one too;
//	                  by: the value of the first A of the person in the cohort's period; first: the first A in the range
//	Sessions          cut at the edges of the range; max cuts before the event at more than max from the start; by: first event
//	Paths             per session the first anchor, its first occurrence; names are event names; the limit keeps the most counted
//	                  links, ties by depth, from, to; answered by depth, count, from, to
//	Attribution       the conversion may be its own touch; a touch at its very time counts, also if it was stored later; all
//	                  fields must be non-empty; value: numbers only, else 0; decay is relative to the youngest touch
//	Experiment        exposures without a value are none; the goal is another event, at the exposure's time or later; without
//	                  `within` it lies in the range; control: the named one, else the first in key order; lift by delta method,
//	                  pooled z for p_value, null where there is no variance; srm_p_value null with one variant
//	Top               missing values are not listed; no "other"
//	Users             order: first E in the range, for `at most` and `exactly 0` first event of any kind; then name
//	Lifecycle         new: no E before the period; returning: E in the whole period before; resurrecting: the rest of those with
//	                  E in the period and the range; dormant: E in the period before, none in this one before `to`
//	Stickiness        one entry for 1 .. number of periods
package oracle
