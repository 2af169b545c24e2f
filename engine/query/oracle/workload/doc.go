// Package workload makes random events and random questions, to compare the
// engine's answers with the oracle's. Only tests import it.
//
// The events are few and awkward: equal times, whole seconds, duplicates, late arrivals,
// logins that follow anonymous events, devices that two persons share, missing
// values, explicit nulls and mixed types, and days on which clocks change.
package workload
