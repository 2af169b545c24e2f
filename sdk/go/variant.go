package spoor

// Weighted is a variant of an experiment and its share. Shares are relative:
// 1 and 1 are halves, as are 50 and 50.
type Weighted struct {
	Name   string
	Weight float64
}

// Bucket places a unit (a person, an account, a device) in an experiment, in
// [0, 1). It is the same for ever, in every process and in Spoor's other SDKs:
//
//	h = FNV-1a, 32 bits, of experiment 0x00 unit, both as UTF-8
//	h = the 32-bit finalizer of MurmurHash3 of h
//	bucket = h / 2^32
//
// The finalizer is needed: high bits of FNV-1a alone leave two experiments
// with assignments that depend on each other.
func Bucket(experiment, unit string) float64 {
	const offset, prime = 2166136261, 16777619
	h := uint32(offset)
	for i := range len(experiment) {
		h = (h ^ uint32(experiment[i])) * prime
	}
	h *= prime // the byte 0
	for i := range len(unit) {
		h = (h ^ uint32(unit[i])) * prime
	}
	h ^= h >> 16
	h *= 0x85ebca6b
	h ^= h >> 13
	h *= 0xc2b2ae35
	h ^= h >> 16
	return float64(h) / (1 << 32)
}

// Assign chooses the variant of a unit: the first one whose cumulative weight
// is above Bucket times the sum of the weights. It is empty where no weight is
// above 0. Adding a variant at the end, or changing weights, moves units.
func Assign(experiment, unit string, variants []Weighted) string {
	total := 0.0
	for _, v := range variants {
		total += max(v.Weight, 0)
	}
	at, sum, name := Bucket(experiment, unit)*total, 0.0, ""
	for _, v := range variants {
		if v.Weight > 0 {
			if sum, name = sum+v.Weight, v.Name; at < sum {
				break
			}
		}
	}
	return name
}
