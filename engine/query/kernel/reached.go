package kernel

import "math/bits"

// Reached calls yield with each person who reached step k, in the order of ordinals; with lost
// with those of them who did not reach the next step, of which there must be one. tag is that of the first chain
// which reached the person's deepest step, 0 in a funnel without tags.
func (f *Funnel) Reached(k int, lost bool, yield func(person, tag uint32)) {
	for i, w := range f.carried[k].who {
		if lost {
			w &^= f.carried[k+1].who[i]
		}
		for ; w != 0; w &= w - 1 {
			p := uint32(i*64 + bits.TrailingZeros64(w))
			tag := uint32(0)
			if f.tags {
				deepest := k
				for deepest+1 < f.steps && f.carried[deepest+1].who[i]>>(p&63)&1 != 0 {
					deepest++
				}
				tag = f.carried[deepest].firstTag[p]
			}
			yield(f.lo+p, tag)
		}
	}
}
