package traits

import (
	"maps"
	"slices"
)

// cell is a person's value at one path.
type cell struct {
	value uint32 // 1 + its number in Store.values; 0 for none
	stamp uint32 // of Store.stamps
}

// column is the values of one path. While few persons have one it is a map,
// else a list by person: a value costs at most about 40 bytes, and 8 where
// everybody has one.
type column struct {
	path   string
	number uint32
	logged bool   // the file knows its number
	live   int    // persons with a value
	top    uint32 // no person behind it ever had one
	few    map[uint32]cell
	many   []cell // in place of few
}

const (
	// A list is made when one person in so many has a value, and given up when
	// less than one in twice as many has.
	sparse = 4
	// Below this many values a map is small enough.
	minListed = 64
)

func (c *column) get(person uint32) cell {
	if c.many != nil {
		if int(person) < len(c.many) {
			return c.many[person]
		}
		return cell{}
	}
	return c.few[person]
}

// set stores x, or nothing where x is the zero cell.
func (c *column) set(person uint32, x cell) {
	if old := c.get(person); old.value == 0 && x.value != 0 {
		c.live++
	} else if old.value != 0 && x.value == 0 {
		c.live--
	}
	if x.value != 0 {
		c.top = max(c.top, person)
	}
	if c.many != nil && int(person) >= len(c.many) {
		if x.value == 0 {
			return
		}
		if int(person) >= 2*sparse*c.live {
			c.spread()
		} else {
			c.many = append(c.many, make([]cell, int(person)+1-len(c.many))...)
		}
	}
	switch {
	case c.many != nil:
		c.many[person] = x
	case x.value == 0:
		delete(c.few, person)
	default:
		c.few[person] = x
		if n := len(c.few); n >= minListed && int(c.top) < sparse*n {
			c.list()
		}
	}
}

// list turns the map into a list.
func (c *column) list() {
	c.many = make([]cell, c.top+1)
	for p, x := range c.few {
		c.many[p] = x
	}
	c.few = nil
}

// spread turns the list into a map.
func (c *column) spread() {
	c.few = make(map[uint32]cell, c.live)
	for p, x := range c.many {
		if x.value != 0 {
			c.few[uint32(p)] = x
		}
	}
	c.many = nil
}

// each calls f for all values in the order of persons.
func (c *column) each(f func(person uint32, x cell)) {
	if c.many == nil {
		for _, p := range slices.Sorted(maps.Keys(c.few)) {
			f(p, c.few[p])
		}
		return
	}
	for p, x := range c.many {
		if x.value != 0 {
			f(uint32(p), x)
		}
	}
}
