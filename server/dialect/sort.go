package dialect

// Sorting says where the properties of a dialect's events go.
type Sorting struct {
	// Context is the place in the context of a property: the member's object, or "" for
	// the context itself, and its name there. Dialects share these names.
	Context map[string][2]string
	// Dropped are properties that went elsewhere, or that say how an event travelled.
	Dropped map[string]bool
	// NullDropped are dropped where they are null.
	NullDropped map[string]bool
}

// Sort puts members into the properties and the context of an event. Of two that have
// one place in the context the first gets it.
func (s *Sorting) Sort(members Object, properties, context *Fields) {
	for i := range members {
		m := &members[i]
		null := string(m.Value) == "null"
		if s.Dropped[string(m.Name)] || null && s.NullDropped[string(m.Name)] {
			continue
		}
		to, ok := s.Context[string(m.Name)]
		if !ok {
			properties.Copy(m)
			continue
		}
		if null {
			continue
		}
		in := context
		if to[0] != "" {
			in = in.In(to[0])
		}
		if in.Has(to[1]) {
			properties.Copy(m)
			continue
		}
		in.Set(to[1], m.Value)
	}
}
