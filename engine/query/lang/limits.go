package lang

import "math"

// Limits of a query. Parse refuses a text beyond them before anything works on
// it; what depends on the data (buckets, groups, memory) is the planner's.
const (
	MaxTextBytes   = 64 << 10
	MaxSteps       = 64 // of a funnel
	MaxAnySteps    = 12 // of one in any order with optional steps or exclusions: all sets of steps are tried
	MaxVoids       = 63 // `excluding` and `never` of a funnel together
	MaxSeries      = 32 // of a trend
	MaxByFields    = 8
	MaxEventNames  = 1000   // of one selection
	MaxClauses     = 64     // of one repeatable clause: excluding, never, holding
	MaxInValues    = 10_000 // of one `in`
	MaxDepthOfExpr = 100    // of nested parentheses, brackets and nots
	MaxRegexpBytes = 1000
	MaxRegexpSteps = 10_000 // instructions of a compiled expression
	MaxNumberBytes = 128
	MaxCursorBytes = 4096
	MaxLimit       = 100_000
	MaxTimes       = math.MaxInt32 // of `at least n`
	MaxPeriods     = 400           // of a retention
	MaxDepth       = 20            // of paths

	// MaxDuration bounds within, gap, max, lookback, half_life and every: 10 years.
	MaxDuration = 3660 * Day
	// MaxLast bounds `last`: 100 years.
	MaxLast = 36600 * Day
)

// Defaults of clauses that a text leaves out.
const (
	DefaultLast     = 30 * Day
	DefaultTZ       = "UTC"
	DefaultWithin   = 30 * Day
	DefaultGap      = 30 * Minute
	DefaultLookback = 30 * Day
	DefaultHalfLife = 7 * Day
	DefaultPeriods  = 30
	DefaultDepth    = 5
	DefaultGroups   = 25  // groups of a breakdown, values of top, keys of an attribution
	DefaultRows     = 100 // events, users
	DefaultLinks    = 100 // paths
)
