package scan

import (
	"spoor/engine/event"
	"spoor/engine/traits"
	"spoor/segment"
	"spoor/segment/batch"
)

// Trait is a trait of persons made ready for filters and breakdowns. It is the
// same for all rows of a person, so it is found by the person alone.
type Trait struct {
	codes  []uint32 // per person as written: 1 + value, 0 for none
	leaves []event.Leaf
	values []any // by code, as Groups has them; nil for none and for an explicit null
}

// NewTrait takes over a column of traits.
func NewTrait(c *traits.Column) *Trait {
	t := &Trait{codes: c.Codes, leaves: c.Values, values: make([]any, len(c.Values)+1)}
	for i := range c.Values {
		switch l := &c.Values[i]; l.Kind {
		case batch.KindString:
			t.values[i+1] = string(l.Text)
		case batch.KindNumber:
			t.values[i+1] = l.Num
		case batch.KindInt:
			t.values[i+1] = l.Int
		case batch.KindNumText:
			t.values[i+1] = Decimal(l.Text)
		case batch.KindBool:
			t.values[i+1] = l.Bool
		case batch.KindJSON:
			t.values[i+1] = RawJSON(l.Text)
		}
	}
	return t
}

// Empty tells whether nobody has the trait.
func (t *Trait) Empty() bool { return len(t.leaves) == 0 }

// Where makes a filter of a test: each value is tested once, not each row.
func (t *Trait) Where(test Test) *Filter {
	pass := make([]bool, len(t.values))
	for i := range t.leaves {
		pass[i+1] = test.accepts(&t.leaves[i])
	}
	return OfPerson(func(person uint32) bool { return pass[t.codes[person]] })
}

func (t *Test) accepts(l *event.Leaf) bool {
	switch l.Kind {
	case batch.KindString:
		return t.Text != nil && t.Text(l.Text)
	case batch.KindNumber:
		return t.Number != nil && t.Number(l.Num)
	case batch.KindInt:
		return t.Int != nil && t.Int(l.Int)
	case batch.KindNumText:
		pass := numText(t.Number)
		return pass != nil && pass(l.Text)
	case batch.KindBool:
		return t.Bool != nil && t.Bool(l.Bool)
	case batch.KindJSON:
		return t.JSON != nil && t.JSON(l.Text)
	case batch.KindNull:
		return t.Null
	}
	return false
}

// groups numbers the trait of each key's person.
func (t *Trait) groups(g *Groups, keys []uint64, dst []uint32) {
	table := make([]uint32, len(t.values))
	for r, k := range keys {
		code := t.codes[segment.KeyPerson(k)]
		if code == 0 {
			continue
		}
		if table[code] == 0 {
			table[code] = g.Of(t.values[code])
		}
		dst[r] = table[code]
	}
}

// numbers are the trait's numbers for each key's person; out is left alone where there is none.
func (t *Trait) numbers(keys []uint64, out []float64) {
	for i, k := range keys {
		switch v := t.values[t.codes[segment.KeyPerson(k)]].(type) {
		case float64:
			out[i] = v
		case int64:
			out[i] = float64(v)
		}
	}
}
