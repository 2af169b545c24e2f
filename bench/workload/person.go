package workload

import "math"

// Kinds of trait: what a number is drawn for.
const (
	traitItem uint64 = iota + 1
	traitUserID
	traitKnown
	traitDevices
	traitHome
	traitVariant
	traitLife
	traitActive
	traitDevice // + the number of the device: keep it last
)

// population is all persons. They are numbered by their first appearance, and
// what is true of one follows from the seed and that number.
type population struct {
	seed   uint64
	size   uint32
	seen   uint32 // persons 0..seen-1 have appeared
	busy   []uint64
	stride uint64 // spreads ranks of activity over the numbers; has no divisor in common with size
}

// rankBins is how finely the activity of persons is graded.
const rankBins = 1024

func newPopulation(seed uint64, size uint32) *population {
	p := &population{seed: seed, size: size, busy: make([]uint64, rankBins+1)}
	// Zipf-Mandelbrot: the activity of rank r is 1/(r+q), q a 32nd of all
	// ranks. Without q a few persons would have thousands of sessions a day.
	for bin := range uint64(rankBins) {
		p.busy[bin+1] = p.busy[bin] + (1<<32)/(bin+rankBins/32)
	}
	p.stride = uint64(size)*618/1000 | 1
	for gcd(p.stride, uint64(size)) != 1 {
		p.stride += 2
	}
	return p
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// due tells whether another person should have appeared when part of whole of
// the stream has happened. Those who knew the shop before come in the first days.
func (p *population) due(part, whole uint64) bool {
	f := float64(part) / float64(whole)
	share := (f + math.Sqrt(f)) / 2
	return p.seen < p.size && (p.seen == 0 || p.seen < uint32(math.Ceil(float64(p.size)*share)))
}

// appear is the next person's first session.
func (p *population) appear() uint32 {
	p.seen++
	return p.seen - 1
}

// firstShare is the part of the stream that had happened when a person
// appeared: the inverse of due.
func (p *population) firstShare(person uint32) float64 {
	s := (math.Sqrt(1+8*(float64(person)/float64(p.size))) - 1) / 2
	return s * s
}

// maxDraws bounds the search for a person who is active today.
const maxDraws = 64

// returning draws a person who has appeared before, by activity, and favours
// those whose days these are.
func (p *population) returning(r *rng, day, days int) uint32 {
	for range maxDraws {
		person := p.byActivity(r)
		if person < p.seen && p.active(person, day, days) {
			return person
		}
	}
	return r.below(p.seen)
}

func (p *population) byActivity(r *rng) uint32 {
	target := scaleWide(r.next(), p.busy[rankBins])
	low, high := 0, rankBins
	for high-low > 1 {
		middle := (low + high) / 2
		if p.busy[middle] <= target {
			low = middle
		} else {
			high = middle
		}
	}
	from := uint64(low) * uint64(p.size) / rankBins
	to := uint64(low+1) * uint64(p.size) / rankBins
	if from == to { // fewer persons than bins
		to = from + 1
	}
	rank := from + uint64(scale(r.next(), uint32(to-from)))
	return uint32(rank * p.stride % uint64(p.size))
}

// active tells whether the day lies in one of the person's bursts: about half of
// the time, in blocks of three days, until the person stops coming.
func (p *population) active(person uint32, day, days int) bool {
	life := trait(p.seed, uint64(person), traitLife)
	if scale(life, 100) < 40 { // stops coming after 1 to 10 days
		first := int(p.firstShare(person) * float64(days))
		if day > first+1+int(life%10) {
			return false
		}
	}
	block := (uint64(day) + life>>40%3) / 3
	return scale(trait(p.seed, uint64(person)<<16|block, traitActive), 100) < 45
}

func (p *population) known(person uint32) bool {
	return scale(trait(p.seed, uint64(person), traitKnown), 1000) < 700
}

// userID names a person; the multiplication is a bijection of 32 bits, so no
// two persons share one.
func (p *population) userID(person uint32) string {
	const digits = "0123456789abcdef"
	n := (person + uint32(trait(p.seed, 0, traitUserID))) * 2654435761
	id := [10]byte{0: 'u', 1: '_'}
	for i := range 8 {
		id[2+i] = digits[n>>(28-4*i)&15]
	}
	return string(id[:])
}

// devices is how many devices the person has: one to three.
func (p *population) devices(person uint32) uint32 {
	if !p.known(person) {
		return 1
	}
	switch n := scale(trait(p.seed, uint64(person), traitDevices), 100); {
	case n < 60:
		return 1
	case n < 90:
		return 2
	default:
		return 3
	}
}

func (p *population) anonymousID(person, device uint32) string {
	hi := trait(p.seed, uint64(person), traitDevice+uint64(device))
	return string(appendUUID(make([]byte, 0, 36), newUUID(hi, scramble(hi^goldenGamma))))
}

func (p *population) machine(person, device uint32) *machine {
	return &machines[machineOdds.draw(scramble(trait(p.seed, uint64(person), traitDevice+uint64(device))))]
}

func (p *population) home(person uint32) *home {
	return &homes[homeOdds.draw(trait(p.seed, uint64(person), traitHome))]
}

func (p *population) variant(person uint32) int {
	return variants.odds.draw(trait(p.seed, uint64(person), traitVariant))
}
