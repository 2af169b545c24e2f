package spoor

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Person says who did something: a user, a device or browser that is not known
// yet, or both.
type Person struct {
	UserID      string
	AnonymousID string
}

// User is the person with a userId.
func User(id string) Person { return Person{UserID: id} }

// Anonymous is the person with an anonymousId.
func Anonymous(id string) Person { return Person{AnonymousID: id} }

// Names of the events that the calls below send.
const (
	PageEvent     = "page_viewed"
	GroupEvent    = "$group"
	ExposureEvent = "experiment_viewed"

	// IdentifyEvent is what BeforeSend sees of Identify and Alias. It is no event on
	// the server, but an identify call: it has neither Properties nor Context.
	IdentifyEvent = "$identify"
)

// Track queues an event of a name.
func (c *Client) Track(ctx context.Context, who Person, name string, properties map[string]any) error {
	return c.Enqueue(ctx, Event{Name: name, UserID: who.UserID, AnonymousID: who.AnonymousID, Properties: properties})
}

// Page queues a page view; its address is in the context, see Requests.
func (c *Client) Page(ctx context.Context, who Person, properties map[string]any) error {
	return c.Track(ctx, who, PageEvent, properties)
}

// Identify says what is known of a person and, where who has both ids, that the
// anonymous person was this user all along. Each trait is set whole, and of each
// the latest call wins by its time, however late it arrives; queries ask for them as user.x.
// A call that says nothing, of one id and no traits, is not queued.
func (c *Client) Identify(ctx context.Context, who Person, traits map[string]any) error {
	return c.Enqueue(ctx, Event{Name: IdentifyEvent, UserID: who.UserID, AnonymousID: who.AnonymousID, Traits: traits})
}

// Alias says that previousID, an anonymousId, was this user all along.
func (c *Client) Alias(ctx context.Context, userID, previousID string) error {
	if userID == "" || previousID == "" {
		c.counters.invalid.Add(1)
		return invalid("an alias needs a user's id and a previous one")
	}
	return c.Identify(ctx, Person{userID, previousID}, nil)
}

// Group says that a person belongs to a group, such as a company, and what is
// known of the group: as a GroupEvent with groupId and traits as its properties.
// The groupId becomes a trait of the person, too.
func (c *Client) Group(ctx context.Context, who Person, groupID string, traits map[string]any) error {
	if groupID == "" {
		c.counters.invalid.Add(1)
		return invalid("a group needs an id")
	}
	properties := map[string]any{"groupId": groupID}
	if len(traits) > 0 {
		properties["traits"] = traits
	}
	now := time.Now()
	err := c.Enqueue(ctx, Event{Name: GroupEvent, UserID: who.UserID, AnonymousID: who.AnonymousID, Timestamp: now, Properties: properties})
	if err != nil && !errors.Is(err, ErrNotDurable) {
		return err
	}
	return errors.Join(err, c.Enqueue(ctx, Event{
		Name: IdentifyEvent, UserID: who.UserID, AnonymousID: who.AnonymousID, Timestamp: now, Traits: map[string]any{"groupId": groupID},
	}))
}

// Variant returns the variant that a person sees of one of Options.Experiments,
// empty where there is none of the name, and queues an ExposureEvent. The unit
// is the userId, or the anonymousId where there is none: a person who logs in
// may change sides, so keep experiments to one side of the login, or call Assign
// with a unit of your own. However many processes call it, the server counts one
// exposure of a person per UTC day.
func (c *Client) Variant(ctx context.Context, who Person, experiment string) string {
	unit := who.UserID
	if unit == "" {
		unit = who.AnonymousID
	}
	variant := Assign(experiment, unit, c.opts.Experiments[experiment])
	if variant == "" || unit == "" {
		return variant
	}
	now := time.Now()
	day := now.UTC().Truncate(24 * time.Hour)
	id := derivedID(day, "exposure", experiment, unit, variant)
	if !c.exposures.first(day, id) {
		return variant
	}
	err := c.Enqueue(ctx, Event{
		ID: id, Name: ExposureEvent, UserID: who.UserID, AnonymousID: who.AnonymousID, Timestamp: now,
		Properties: map[string]any{"experiment": experiment, "variant": variant},
	})
	if err != nil {
		c.exposures.forget(id) // the next call tries again
	}
	return variant
}

// exposures spares sending what was queued today already.
type exposures struct {
	mu   sync.Mutex
	day  time.Time
	seen map[string]struct{}
}

// maxExposures bounds how many are remembered; further ones are sent again and
// dropped by the server.
const maxExposures = 20_000

func (x *exposures) first(day time.Time, id string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.seen == nil || !x.day.Equal(day) || len(x.seen) >= maxExposures {
		x.day, x.seen = day, map[string]struct{}{}
	}
	_, seen := x.seen[id]
	x.seen[id] = struct{}{}
	return !seen
}

func (x *exposures) forget(id string) {
	x.mu.Lock()
	delete(x.seen, id)
	x.mu.Unlock()
}
