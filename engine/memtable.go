package engine

import (
	"spoor/index"
	"spoor/segment"
	"spoor/segment/batch"
)

// memtable holds the events that the log has and no segment file has yet. It is
// a list of runs; a run is a list of batches as they came out of the log, each
// with the verdict of dedupe and the persons of its rows. When a run has
// runRows rows it is closed; whoever first asks a question of a closed run turns
// it into a segment in memory, once, so that queries know only segments.
type memtable struct {
	runs   []*run // the last one is open
	rows   int
	bytes  int64
	first  uint64 // log index of the first and last batch
	last   uint64
	parts  []*part // of all runs, by part number
	ids    *index.IDTable
	starts []uint32 // per part: the number of its first row in ids
	total  uint32   // rows counted in starts, skipped ones too
	// apart is set when a rule about the rows up to here was applied: it is not about
	// later ones, see writeTables.
	apart bool
}

// runRows is how many rows close a run: what a query may have to sort when it
// is the first to see them.
const runRows = 16 << 10

// part is a batch in the memtable.
type part struct {
	b      *batch.Batch
	rows   int    // that are kept
	skip   []bool // rows that were duplicates; nil when there were none
	person []uint32
	user   []uint32 // 1 + user ordinal, 0 for none
	anon   []uint32 // 1 + anon ordinal, 0 for none
}

type run struct {
	parts []*part
	rows  int
	seg   memorySegment
}

func newMemtable() *memtable {
	return &memtable{ids: index.NewIDTable(1 << 12), runs: []*run{{}}}
}

// add appends a part. Its ids are in m.ids already.
func (m *memtable) add(p *part, logIndex uint64) {
	if m.first == 0 {
		m.first = logIndex
	}
	m.last = logIndex
	r := m.runs[len(m.runs)-1]
	if r.rows > 0 && r.rows+p.rows > runRows {
		r = &run{}
		m.runs = append(m.runs, r)
	}
	r.parts = append(r.parts, p)
	r.rows += p.rows
	m.rows += p.rows
	m.bytes += batchBytes(p.b) + int64(12*p.b.N)
}

// has tells whether the memtable holds an event with this id that counts.
func (m *memtable) has(hash uint64, id batch.ID, text []byte, counts func(b *batch.Batch, row int) bool) bool {
	for it := m.ids.Find(hash); it.Next(); {
		at, row := m.locate(it.Loc())
		b := m.parts[at].b
		if text == nil && b.IDs[row] == id && !isText(b, row) ||
			text != nil && isText(b, row) && string(idText(b, row)) == string(text) {
			if counts(b, row) {
				return true
			}
		}
	}
	return false
}

func isText(b *batch.Batch, row int) bool { return b.IDIsText != nil && b.IDIsText[row] }

// idText is the id of a row that is no UUID.
func idText(b *batch.Batch, row int) []byte {
	id := b.IDs[row]
	off := id.Hi >> 16
	return b.IDBytes[off : off+id.Hi&0xffff]
}

// locate finds the part and row of a number that ids gave.
func (m *memtable) locate(loc uint32) (p, row int) {
	lo, hi := 0, len(m.starts)
	for hi-lo > 1 {
		mid := int(uint(lo+hi) / 2)
		if m.starts[mid] <= loc {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo, int(loc - m.starts[lo])
}

// begin registers a part before its ids are inserted and returns the number of its first row.
func (m *memtable) begin(p *part) uint32 {
	first := m.total
	m.parts = append(m.parts, p)
	m.starts = append(m.starts, first)
	m.total += uint32(p.b.N)
	return first
}

// forget takes back begin of the last part, of which no row was kept: clients
// that send everything again must not fill the memory.
func (m *memtable) forget(first uint32) {
	last := len(m.parts) - 1
	m.parts[last] = nil
	m.parts, m.starts, m.total = m.parts[:last], m.starts[:last], first
}

// batchBytes is about the memory of a batch.
func batchBytes(b *batch.Batch) int64 {
	n := int64(b.N)*(16+8+5*4) + int64(len(b.IDBytes)+len(b.IDIsText))
	for _, c := range []*batch.Codes{&b.Names, &b.Users, &b.Anons, &b.Shapes, &b.Sources} {
		n += int64(len(c.Dict.Bytes) + 4*len(c.Dict.Off))
	}
	for i := range b.Columns {
		c := &b.Columns[i]
		n += int64(4*len(c.Rows) + 4*len(c.Codes) + len(c.Dict.Bytes) + 4*len(c.Dict.Off) + 8*len(c.Nums) + 8*len(c.Ints) + len(c.Bools) + 128)
	}
	return n
}

// refusals tells which rows of a batch may not be stored; nil if all may.
func (db *DB) refusals(b *batch.Batch) (out []Refusal) {
	refuse := func(row int, why Refusal) {
		if out == nil {
			out = make([]Refusal, b.N)
		}
		out[row] = why
	}
	if set := db.live().erasures.Load(); set != nil && set.Cutoffs != nil {
		for i := range b.N {
			switch day := segment.Day(b.Times[i]); {
			case db.expired(b, i):
				refuse(i, ExpiredEvent)
			case set.Cutoffs.TooOld(day):
				refuse(i, TooOld)
			case set.Cutoffs.TooFarAhead(day, segment.Day(b.ReceivedAt)):
				refuse(i, TooFarAhead)
			}
		}
	}
	x := db.live().identity
	x.RLock()
	defer x.RUnlock()
	if !x.RefusesAny() {
		return out
	}
	lastUser, lastAnon, refused := ^uint32(0), ^uint32(0), false
	for i := range b.N {
		if u, a := b.Users.Row[i], b.Anons.Row[i]; u != lastUser || a != lastAnon {
			user, _ := b.Users.At(i)
			anon, _ := b.Anons.At(i)
			lastUser, lastAnon, refused = u, a, x.Refused(user, anon)
		}
		if refused {
			refuse(i, ErasedPerson)
		}
	}
	return out
}

// expired tells whether a row of a batch is older than the retention allows.
func (db *DB) expired(b *batch.Batch, row int) bool {
	set := db.live().erasures.Load()
	if set == nil || set.Cutoffs == nil {
		return false
	}
	return set.Expired(string(b.Names.Dict.At(int(b.Names.Row[row]-1))), segment.Day(b.Times[row]))
}

// idForgotten tells whether the id of a row counts no more.
func (db *DB) idForgotten(b *batch.Batch, row int) bool {
	return db.live().erasures.Load().Forgets(segment.Day(b.Times[row]), segment.Day(b.ReceivedAt))
}
