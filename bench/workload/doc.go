// Package workload makes product events that nobody had to live through: the
// stream that demo, tests and benchmarks send to Spoor and to its peers, before
// an event ever reaches the collector.
//
// A stream is a function of its Config: the same seed gives the same bytes on
// every machine, because everything that decides is integer arithmetic. It holds
// no more than the sessions that are open at one moment of the imagined clock,
// so a stream may be longer than memory.
//
// What a stream looks like:
//
//   - Events/50 persons, few of them busy and most of them rare (Zipf-Mandelbrot),
//     who first appear all through the range, come in bursts of days and some of
//     whom stop coming.
//   - Sessions with a daily and weekly rhythm; inside a session a walk through a
//     shop, whose funnel view_product, add_to_cart, checkout_started,
//     purchase_completed takes about a quarter of all events.
//   - 70 % of the persons have a userId, and 80 % of their sessions carry it
//     beside the anonymousId; all else carries the anonymousId alone. A person
//     with a userId has one to three devices, each with an anonymousId of its
//     own. A person without one has one device, for nobody could tell otherwise.
//   - 1 % of the lines are resends, equal in every byte to a line shortly before.
//   - 2 % of the events arrive hours late: whole sessions of a device that was
//     offline. All others stand in the order of their timestamps.
package workload
