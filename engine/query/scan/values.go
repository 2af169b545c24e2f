package scan

import "math"

// Values are the values of one field for some rows.
type Values struct {
	// Num are the values that are numbers; NaN for any other and for none.
	Num []float64
	// group and groups hold the values of any type, when they were asked for.
	group  []uint32
	groups *Groups
	tuple  *Tuples
}

// Read reads the field of each key, which were collected from parts with their rows.
func (v *Values) Read(w *Worker, parts []Part, keys *Keys, field Field) error {
	if v.tuple == nil {
		v.tuple = NewTuples(1)
	}
	v.group = grow(v.group, len(keys.K))
	if err := v.tuple.Rows(w, parts, keys, []Field{field}, v.group); err != nil {
		return err
	}
	v.groups = v.tuple.fields[0]
	v.Num = grow(v.Num, len(keys.K))
	for i, t := range v.group {
		v.Num[i] = math.NaN()
		switch n := v.groups.Value(v.tuple.tuples[t][0]).(type) {
		case float64:
			v.Num[i] = n
		case int64:
			v.Num[i] = float64(n)
		}
	}
	return nil
}

// Any is value i of any type; ok is false where there is none.
func (v *Values) Any(i int) (value any, ok bool) {
	g := v.tuple.tuples[v.group[i]][0]
	return v.groups.Value(g), g != 0
}
