package workload

import "math"

// phase is where a session stands in the shop.
type phase uint8

const (
	atLarge  phase = iota // looks around
	onItem                // looks at a product
	cart                  // has something in the cart
	delivery              // has started the checkout
	payment               // has chosen the shipping
	confirm               // has entered how to pay
)

// session is one visit of one person on one device.
type session struct {
	rng         rng
	person      uint32
	userID      string
	anonymousID string
	context     *Context
	currency    string

	now   int64 // time of the next event, milliseconds since the Unix epoch
	delay int64 // how much later its events arrive, milliseconds
	left  int32 // events still to come
	done  int32 // events that were

	phase    phase
	variant  int
	arrives  bool // the person is new to the shop
	item     *item
	quantity int32
}

// Lengths of sessions in events: 15 % leave at once, the others stay for two
// and a geometric number more.
const (
	bouncePerMille   = 150
	meanFurther      = 9
	maxSessionEvents = 120
	meanPauseMillis  = 38_000
	maxPauseMillis   = 20 * 60_000
)

// quantiles of the exponential distribution with mean 1, in thousandths:
// quantiles[i] is exceeded with odds 1-i/256. Rounded, so that every machine has the same.
var quantiles = func() (table [257]uint32) {
	for i := range 256 {
		table[i] = uint32(math.Round(-1000 * math.Log(1-float64(i)/256)))
	}
	table[256] = 7500
	return table
}()

// exponential draws from the exponential distribution with the mean.
func exponential(r *rng, mean uint64) uint64 {
	n := r.next()
	bin := n & 255
	low, width := uint64(quantiles[bin]), uint64(quantiles[bin+1]-quantiles[bin])
	return (low*1024 + width*(n>>8&1023)) * mean / (1000 * 1024)
}

func drawLength(r *rng) int32 {
	if r.chance(bouncePerMille) {
		return 1
	}
	return int32(min(2+exponential(r, meanFurther), maxSessionEvents))
}

// next fills the event with the session's next one and moves the session's
// clock on. end is the end of the range: no event reaches it.
func (s *session) next(e *Event, shop []item, end int64) {
	kind := s.choose(shop)
	*e = Event{
		ID:          newUUID(s.rng.next(), s.rng.next()),
		Name:        eventNames[kind],
		UserID:      s.userID,
		AnonymousID: s.anonymousID,
		Time:        s.now,
		Context:     s.context,
		Person:      s.person,
		Late:        s.delay > 0,
	}
	s.fill(&e.Properties, kind)

	pause := int64(min(200+exponential(&s.rng, meanPauseMillis), maxPauseMillis))
	if s.now+pause >= end {
		pause = (end - 1 - s.now) / 2
	}
	s.now += pause
	s.left--
	s.done++
}

func (s *session) choose(shop []item) eventKind {
	switch {
	case s.done == 0 && s.rng.chance(600):
		return pageViewed
	case s.done == 2 && s.arrives:
		return signedUp
	}
	switch s.phase {
	case onItem:
		if s.rng.chance(280) {
			s.phase = cart
			s.quantity = 1 + int32(min(s.rng.below(100)/80*(1+s.rng.below(3)), 4))
			return addToCart
		}
		if s.rng.chance(150) {
			s.phase = atLarge
			return s.move(browsing, shop)
		}
		return s.move(onProduct, shop)
	case cart:
		if s.rng.chance(255) {
			s.phase = delivery
			return checkoutStarted
		}
		return s.move(withCart, shop)
	case delivery:
		if s.rng.chance(890) {
			s.phase = payment
			return shippingSelected
		}
	case payment:
		if s.rng.chance(880) {
			s.phase = confirm
			return paymentEntered
		}
	case confirm:
		if s.rng.chance([...]uint32{900, 960, 905}[s.variant]) {
			s.phase = atLarge
			return purchaseCompleted
		}
	}
	s.phase = atLarge
	return s.move(browsing, shop)
}

// move draws an event and follows it where it leads.
func (s *session) move(odds lottery, shop []item) eventKind {
	kind := eventKind(odds.draw(s.rng.next()))
	switch kind {
	case viewProduct:
		s.pick(shop)
		if s.phase != cart {
			s.phase = onItem
		}
	case productClicked, categoryViewed, searched:
		s.pick(shop)
	case removeFromCart:
		s.phase = atLarge
	}
	return kind
}

// pick draws a product; some sell far better than others.
func (s *session) pick(shop []item) {
	a, b := s.rng.below(items), s.rng.below(items)
	s.item = &shop[a*b/items]
}

func (s *session) fill(p *Properties, kind eventKind) {
	r := &s.rng
	*p = Properties{
		Fields:    eventFields[kind],
		ProductID: s.item.id,
		Category:  s.item.category,
		Cents:     s.item.cents,
		Quantity:  s.quantity,
		Currency:  s.currency,
		Surface:   surfaces.draw(r.next()),
		Variant:   variants.values[s.variant],
		Position:  1 + int32(r.below(48)*r.below(48)/48),
	}
}
