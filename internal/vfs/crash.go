package vfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// sectorBytes is what a disk writes whole or not at all.
const sectorBytes = 512

// CrashClone returns the file system as a power cut at this moment would leave
// it; m goes on untouched. Of what was not made durable any part may have
// reached the disk:
//
//   - Bytes that were not synced survive sector by sector: each sector is as it
//     was after any one of the writes to it since the last Sync. The length is that
//     after any one of the changes of it. A sector within the length that never
//     was written is zero.
//   - A name that was made, moved or removed without SyncDir is as before or as
//     after. A rename happens as a whole, and what concerns the same name or file keeps its order;
//     else every change survives or not by itself.
//
// Synced bytes of a file whose name is durable always survive, as does a
// durable name. Locks end.
func (m *Mem) CrashClone(rng *rand.Rand) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &crash{rng: rng, copies: map[*node]*node{}, names: map[*node]map[string]*node{}}
	c.keepNames(m.changes)
	next := NewMem()
	next.limit = m.limit
	next.root = c.copy(m.root)
	for n, survivor := range c.copies {
		if !n.isDir() {
			next.used += int64(len(survivor.data))
		}
	}
	return next
}

// crash decides what survives.
type crash struct {
	rng    *rand.Rand
	names  map[*node]map[string]*node // per directory with changes: the names that survive
	copies map[*node]*node
}

// fate is a way in which a disk may have gone about what was pending.
type fate int

const (
	fateNone  fate = iota // nothing survives
	fateAll               // everything does
	fatePart              // up to a moment everything does, nothing after it
	fateMixed             // each for itself
	fates
)

// keepNames chooses the changes that survive.
func (c *crash) keepNames(changes []change) {
	type place struct {
		dir  *node
		name string
	}
	lostNames, lostFiles := map[place]bool{}, map[*node]bool{}
	f := fate(c.rng.IntN(int(fates)))
	cut := c.rng.IntN(len(changes) + 1)
	for i, ch := range changes {
		keep := f == fateAll || f == fatePart && i < cut || f == fateMixed && c.rng.IntN(2) == 0
		for _, e := range ch {
			// A change cannot survive one that it builds on.
			if lostNames[place{e.dir, e.name}] || lostFiles[e.dir] || e.to != nil && lostFiles[e.to] || e.was != nil && lostFiles[e.was] {
				keep = false
			}
		}
		for _, e := range ch {
			if !keep {
				lostNames[place{e.dir, e.name}] = true
				if e.to != nil {
					lostFiles[e.to] = true
				}
				if e.was != nil {
					lostFiles[e.was] = true
				}
				continue
			}
			e.put(c.namesOf(e.dir))
		}
	}
}

func (c *crash) namesOf(dir *node) map[string]*node {
	names, ok := c.names[dir]
	if !ok {
		names = maps.Clone(dir.durable)
		c.names[dir] = names
	}
	return names
}

// copy makes the surviving copy of a node, one for all its names.
func (c *crash) copy(n *node) *node {
	if s := c.copies[n]; s != nil {
		return s
	}
	s := &node{}
	c.copies[n] = s
	if n.isDir() {
		s.entries, s.durable = map[string]*node{}, map[string]*node{}
		names := c.namesOf(n)
		for _, name := range sortedNames(names) { // in order: the random source must not depend on a map
			child := c.copy(names[name])
			child.names++
			s.entries[name], s.durable[name] = child, child
		}
		return s
	}
	s.data = c.content(n)
	s.synced = slices.Clone(s.data)
	return s
}

// content chooses the bytes of a file.
func (c *crash) content(n *node) []byte {
	f := fate(c.rng.IntN(int(fates)))
	applied := 0 // writes that every sector has
	switch f {
	case fateAll, fateMixed:
		applied = len(n.pending)
	case fatePart:
		applied = c.rng.IntN(len(n.pending) + 1)
	}
	if f != fateMixed {
		b := slices.Clone(n.synced)
		for i := range n.pending[:applied] {
			b = n.pending[i].apply(b)
		}
		return b
	}
	return c.mixed(n)
}

// mixed lets every sector be as of another moment.
func (c *crash) mixed(n *node) []byte {
	longest, sizeAt := len(n.synced), []int{len(n.synced)}
	for i := range n.pending {
		w, size := &n.pending[i], sizeAt[i]
		if w.data == nil {
			size = int(w.off)
		} else {
			size = max(size, int(w.off)+len(w.data))
		}
		sizeAt = append(sizeAt, size)
		longest = max(longest, size)
	}
	b := make([]byte, longest)
	copy(b, n.synced)
	moments := make([]int, (longest+sectorBytes-1)/sectorBytes)
	for i := range moments {
		// Half the sectors have all or nothing, the common cases.
		switch c.rng.IntN(4) {
		case 0:
			moments[i] = 0
		case 1:
			moments[i] = len(n.pending)
		default:
			moments[i] = c.rng.IntN(len(n.pending) + 1)
		}
	}
	for i := range n.pending {
		w := &n.pending[i]
		from, to := int(w.off), int(w.off)+len(w.data)
		if w.data == nil {
			to = longest // what a shorter length cuts off is zero when it comes back
		}
		for at := from; at < to; {
			end := min(to, at-at%sectorBytes+sectorBytes)
			if moments[at/sectorBytes] > i {
				if w.data == nil {
					clear(b[at:end])
				} else {
					copy(b[at:end], w.data[at-from:])
				}
			}
			at = end
		}
	}
	return b[:sizeAt[c.rng.IntN(len(sizeAt))]]
}
